"""Order, ancestry and selection in a tree, and how long its steps take side by side."""

from __future__ import annotations

import pytest

from regrow.errors import RegrowError
from regrow.tree import graph, schedule
from regrow.tree.plan import Step

PARENTS = {"leaf": "acorn", "oak": None, "acorn": "oak", "twig": "oak", "fern": None}


def test_parents_come_before_children_and_otherwise_as_declared() -> None:
    assert graph.order(PARENTS) == ["oak", "acorn", "leaf", "twig", "fern"]


def test_a_missing_parent_is_named_with_the_nearest() -> None:
    with pytest.raises(RegrowError, match=r"'leaf' grows from 'acron'.*did you mean 'acorn'"):
        graph.order({"leaf": "acron", "acorn": None})


def test_a_cycle_is_spelled_out() -> None:
    with pytest.raises(RegrowError, match="a <- b <- c <- a"):
        graph.order({"a": "b", "b": "c", "c": "a"})


@pytest.mark.parametrize(
    ("to", "start", "chosen"),
    [
        ([], [], ["oak", "acorn", "leaf", "twig", "fern"]),
        (["acorn"], [], ["oak", "acorn"]),
        ([], ["acorn"], ["acorn", "leaf"]),
        (["leaf"], ["acorn"], ["acorn", "leaf"]),
        (["twig", "fern"], [], ["oak", "twig", "fern"]),
    ],
)
def test_targets_select_what_lies_between(
    to: list[str], start: list[str], chosen: list[str]
) -> None:
    assert graph.select(PARENTS, to, start) == chosen


def test_nothing_between_two_nodes_is_an_error() -> None:
    with pytest.raises(RegrowError, match="no node lies between twig and leaf"):
        graph.select(PARENTS, ["leaf"], ["twig"])


def _steps(*rows: tuple[str, tuple[str, ...]]) -> list[Step]:
    return [Step(name, "pretrain", needs, "missing") for name, needs in rows]


FORK = _steps(("a", ()), ("b", ("a",)), ("c", ("a",)), ("d", ("c",)))
SECONDS = {"a": 1.0, "b": 4.0, "c": 2.0, "d": 3.0}


def test_one_at_a_time_takes_the_sum() -> None:
    assert schedule.makespan(FORK, SECONDS, 1) == 10.0


def test_side_by_side_takes_the_longest_chain() -> None:
    assert schedule.makespan(FORK, SECONDS, 2) == 6.0  # a, c, d; b beside c and d


def test_what_is_done_takes_no_time() -> None:
    steps = [Step("a", "pretrain", (), "done"), *FORK[1:]]
    assert schedule.makespan(steps, SECONDS, 2) == 5.0


def test_what_runs_already_counts_what_is_left() -> None:
    steps = [Step("a", "pretrain", (), "done"), *FORK[1:]]
    assert schedule.makespan(steps, SECONDS, 1, {"b": 1.0}) == 6.0


def test_the_longest_chain_starts_first() -> None:
    tail = schedule.tails(FORK, SECONDS)
    assert tail == {"d": 3.0, "c": 5.0, "b": 4.0, "a": 6.0}
    assert schedule.choose(schedule.ready(FORK, {"a"}, set()), tail) == "c"
