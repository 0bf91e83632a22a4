"""What a run shows of itself, and how it reckons the time that is left."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from regrow.tree import live
from regrow.tree.live import Board, LiveDisplay, PlainDisplay, branches, duration
from regrow.tree.plan import Step

PARENTS = {"oak": None, "acorn": "oak", "leaf": "acorn", "twig": "oak", "fern": None}
STEPS = [
    Step("world", "world", (), "done"),
    Step("corpus", "corpus", ("world",), "done"),
    Step("oak", "pretrain", ("corpus",), "missing"),
    Step("acorn", "supervised", ("corpus", "oak"), "missing"),
    Step("oak/measure", "measure", ("oak",), "missing"),
    Step("report", "report", ("oak/measure",), "missing"),
]
SECONDS = {"oak": 100.0, "acorn": 50.0, "oak/measure": 20.0, "report": 2.0}


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(live, "time", clock)
    return clock


def test_times_are_said_as_people_say_them() -> None:
    said = [duration(seconds) for seconds in (0.4, 59.4, 59.6, 185, 3600, 7800)]
    assert said == ["0s", "59s", "1m00s", "3m05s", "1h00m", "2h10m"]


def test_before_the_start_the_time_left_is_what_was_expected(clock: Clock) -> None:
    assert Board(STEPS, SECONDS, 2).left() == 150.0  # oak, acorn; measuring fits beside acorn
    assert Board(STEPS, SECONDS, 1).left() == 172.0


def test_a_step_on_its_way_is_reckoned_by_its_own_speed(clock: Clock) -> None:
    board = Board(STEPS, SECONDS, 1)
    board.begin("oak")
    clock.now += 50
    board.progress("oak", 25, 100, {"loss": 2.0})
    board.views["oak"].first = 0.0
    assert board.views["oak"].left(clock.now, 1.0) == 150.0
    assert board.left() == 150.0 + 2 * 72.0  # what has not begun at the same pace


def test_a_step_taken_up_again_counts_only_what_it_did_since(clock: Clock) -> None:
    board = Board(STEPS, SECONDS, 1)
    board.begin("oak")
    board.progress("oak", 40, 100, {})
    clock.now += 10
    board.progress("oak", 60, 100, {})
    assert board.views["oak"].left(clock.now, 1.0) == 20.0


def test_a_step_in_its_second_part_is_reckoned_by_that_part_and_by_what_was_expected(
    clock: Clock,
) -> None:
    board = Board(STEPS, SECONDS, 1)
    view = board.views["oak"]
    board.begin("oak")
    board.progress("oak", 0, 1000, {"phase": "sampling"})
    clock.now += 30
    board.progress("oak", 1000, 1000, {"phase": "sampling"})
    board.progress("oak", 0, 50, {"phase": "ppo"})
    assert view.left(clock.now, 1.0) == 70.0  # of the hundred that were expected
    clock.now += 10
    board.progress("oak", 5, 50, {"phase": "ppo"})
    assert view.left(clock.now, 1.0) == 90.0  # ten seconds for five
    clock.now += 10
    board.progress("oak", 45, 50, {"phase": "ppo"})
    assert view.left(clock.now, 1.0) == 50.0


def test_a_slow_machine_stretches_what_has_not_begun(clock: Clock) -> None:
    board = Board(STEPS, SECONDS, 1)
    board.begin("oak")
    clock.now += 200
    board.finish("oak", 200.0)
    assert board.pace() == 2.0
    assert board.left() == 2 * 72.0


def test_what_a_running_step_shows_of_the_machine_counts_before_it_ends(clock: Clock) -> None:
    board = Board(STEPS, SECONDS, 1)
    board.begin("oak")
    board.progress("oak", 0, 1000, {})
    clock.now += 30
    board.progress("oak", 100, 1000, {})  # a tenth of 100 s in 30
    assert board.pace() == pytest.approx(3.0)
    assert board.left() == pytest.approx(9 * 30 + 3 * 72.0)


def test_the_tree_is_drawn_with_children_under_their_parents() -> None:
    names = ["world", "corpus", *PARENTS, "report"]
    board = Board([Step(name, "", (), "missing") for name in names], {}, 1)
    assert branches(board, PARENTS) == [
        ("world", ""),
        ("corpus", ""),
        ("oak", ""),
        ("acorn", "├─"),
        ("leaf", "│ └─"),
        ("twig", "└─"),
        ("fern", ""),
        ("report", ""),
    ]


def test_the_live_tree_shows_progress_loss_speed_and_what_is_left(clock: Clock) -> None:
    board = Board(STEPS, SECONDS, 1)
    board.begin("oak")
    clock.now += 10
    board.progress("oak", 0, 100, {})
    clock.now += 10
    board.progress("oak", 50, 100, {"loss": 1.234, "tokens_per_s": 12345.0, "phase": "text"})
    out = io.StringIO()
    Console(file=out, width=100).print(LiveDisplay("laptop", PARENTS).draw(board))
    text = out.getvalue()
    assert "laptop   20s gone, 49s to go" in text  # 20 of oak, and 72 expected at a pace of .4
    for part in ("✓ world", "▸ oak", "text  loss 1.234  12.3k tokens/s", "20s left", "~50s"):
        assert part in text


def test_the_share_of_the_matrix_rate_and_spikes_are_told() -> None:
    metrics = {"loss": 1.5, "tokens_per_s": 900.0, "matrix_share": 0.384, "spikes": 0}
    assert live.told(metrics) == "loss 1.500  0.9k tokens/s  38% of the matrix rate"
    assert live.told({"spikes": 1}) == "1 spike"
    assert live.told({"spikes": 2}) == "2 spikes"


def test_without_a_terminal_each_event_is_a_line(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    board, display = Board(STEPS, SECONDS, 1), PlainDisplay()
    display.start(board)
    board.begin("oak")
    display.show(board)
    clock.now += 31
    board.progress("oak", 50, 100, {"loss": 1.5})
    display.show(board)
    board.finish("oak", 60.0)
    display.stop(board)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 steps to do, about 2m52s"
    assert lines[1] == "oak: begins, about 1m40s"
    assert lines[2].startswith("oak: 50%  loss 1.500  ")
    assert lines[3] == "oak: done in 1m00s  loss 1.500"
