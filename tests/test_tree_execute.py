"""Growing a tree with stages that are fakes: order, resumption, trouble, drift."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from tree_fakes import LINKS
from tree_kit import Garden

from regrow.tree import calibrate

NODES = ["oak", "acorn", "twig", "leaf", "fern"]


@pytest.fixture
def garden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Garden:
    return Garden(tmp_path, monkeypatch)


def test_to_stops_at_a_node_and_from_goes_on_below_it(garden: Garden) -> None:
    garden.grow("--to", "acorn")
    assert set(garden.weights()) == {"oak", "acorn"}
    garden.grow("--from", "acorn")
    assert set(garden.weights()) == {"oak", "acorn", "leaf"}
    garden.grow("--from", "twig")
    assert set(garden.weights()) == {"oak", "acorn", "leaf", "twig"}


def test_to_corpus_grows_no_node(garden: Garden) -> None:
    assert garden.grow("--to", "corpus")[0] == 0
    assert (garden.run / "corpus" / "edge.json").is_file()
    assert garden.weights() == {}


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        ("user", "acorn: the rate is too high; halve settings.rate"),
        ("full", "acorn: the disk is full; free space and run the same command again"),
        ("bug", "acorn: ValueError: a mistake of ours"),
    ],
)
def test_a_stage_in_trouble_is_one_line_and_loses_nothing(
    garden: Garden, trouble: str, says: str
) -> None:
    code, _, errors = garden.grow("--to", "acorn", FAKE_TROUBLE=f"acorn {trouble}")
    assert code == 1
    assert says in errors
    assert len(errors.strip().splitlines()) == 1
    assert garden.grow("--to", "acorn")[0] == 0
    assert [line for line in garden.links() if line.startswith("acorn ")][:-1] == [
        f"acorn {link}" for link in range(LINKS)
    ]
    edge = json.loads((garden.run / "acorn" / "edge.json").read_text())
    assert edge["attempts"] == 2


def test_drift_stops_and_names_the_change_and_the_two_ways(garden: Garden) -> None:
    garden.grow()
    code, _, errors = garden.grow("nodes.acorn.tokens=200")
    assert code == 1
    for part in ("acorn was grown: tokens: 100 -> 200", "--accept acorn", "--regrow acorn"):
        assert part in errors


def test_an_accepted_change_keeps_the_node_and_its_children(garden: Garden) -> None:
    garden.grow()
    before = garden.links()
    assert garden.grow("nodes.oak.tokens=9k", "--accept", "oak")[0] == 0
    assert garden.grow("nodes.oak.tokens=9k")[0] == 0
    assert garden.links() == before


def test_regrowing_a_node_regrows_what_comes_from_it_and_nothing_else(garden: Garden) -> None:
    garden.grow()
    before = len(garden.links())
    assert garden.grow("nodes.acorn.tokens=200", "--regrow", "acorn")[0] == 0
    again = {line.split()[0] for line in garden.links()[before:]}
    assert again == {"acorn", "leaf"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--regrow", "oak", "--to", "lef"], "did you mean 'leaf'?"),
        (["--regrow", "acorn", "nodes.fern.tokens=9k"], "since fern was grown: tokens"),
        (["--accept", "acorn", "nodes.acorn.tokens=9", "nodes.fern.tokens=9k"], "since fern"),
        (["--regrow", "all", "--documents", "nowhere"], "nowhere is not there"),
    ],
)
def test_what_goes_wrong_at_once_changes_nothing(
    garden: Garden, words: list[str], says: str
) -> None:
    garden.grow()
    before = {p: p.read_bytes() for p in sorted(garden.run.rglob("*")) if p.is_file()}
    code, out, errors = garden.grow(*words)
    assert (code, out) == (1, "")
    assert says in errors
    assert {p: p.read_bytes() for p in sorted(garden.run.rglob("*")) if p.is_file()} == before


def test_a_node_that_is_grown_anew_below_what_is_asked_for_brings_the_report_up_to_date(
    garden: Garden,
) -> None:
    garden.grow()
    _, out, _ = garden.grow("--regrow", "leaf", "--to", "oak", "--json")
    assert json.loads(out)["grown"] == ["report"]
    _, out, _ = garden.grow("--to", "oak")
    assert "nothing to do" in out


def test_a_dry_run_takes_a_change_as_accepted(garden: Garden) -> None:
    garden.grow()
    asked = ["nodes.oak.tokens=9k", "--accept", "oak"]
    code, out, _ = garden.grow(*asked, "--dry-run")
    assert (code, "nothing to do" in out) == (0, True)
    assert garden.grow("nodes.oak.tokens=9k")[0] == 1
    assert "did you mean 'oak'?" in garden.grow("--accept", "oka", "--dry-run")[2]


def test_a_half_grown_node_does_not_go_on_under_another_recipe(garden: Garden) -> None:
    garden.grow("--to", "acorn", FAKE_TROUBLE="acorn user")
    code, _, errors = garden.grow("nodes.acorn.tokens=200")
    assert code == 1
    assert "undo the change to go on with it, or --regrow acorn" in errors
    assert garden.grow("nodes.acorn.tokens=200", "--regrow", "acorn")[0] == 0


def test_other_abilities_are_measured_anew_without_growing(garden: Garden) -> None:
    garden.grow()
    before = len(garden.links())
    assert garden.grow("abilities.items=7")[0] == 0
    assert sorted(garden.links()[before:]) == sorted(f"{node} measured" for node in NODES)


def test_other_documents_are_drift(garden: Garden) -> None:
    (garden.folder / "texts").mkdir()
    (garden.folder / "texts" / "a.txt").write_text("one")
    assert garden.grow("--documents", "texts")[0] == 0
    (garden.folder / "texts" / "a.txt").write_text("two")
    code, _, errors = garden.grow("--documents", "texts")
    assert code == 1
    assert "since corpus was grown: documents:" in errors


def test_another_seed_is_a_run_of_its_own(garden: Garden) -> None:
    garden.grow("--to", "oak")
    assert garden.grow("--to", "oak", "--seed", "1")[0] == 0
    other = (garden.runs / "sapling-seed-1" / "oak" / "model.safetensors").read_text()
    assert other != garden.weights()["oak"]


def test_a_dry_run_touches_nothing(garden: Garden) -> None:
    code, out, _ = garden.grow("--dry-run", "--jobs", "1")
    assert code == 0
    assert not garden.run.exists()
    assert "sapling should take about 41s" in out  # 10 + 1 + 1 + 1 + 20 s of tokens, 8 steps of 1 s
    assert "training in fp32: a fake" in out
    assert "other work makes steps 1.6 times as long now" in out


def test_above_an_hour_the_smaller_recipe_is_named(garden: Garden) -> None:
    _, out, _ = garden.grow("--dry-run", "nodes.oak.tokens=1M")
    assert "above an hour: `regrow run seedling`" in out


def test_one_second_of_training_is_forecast_from_the_speed(garden: Garden) -> None:
    _, out, _ = garden.grow("--dry-run", "--json")
    expected = {row["step"]: row["expected_seconds"] for row in json.loads(out)["steps"]}
    assert expected["oak"] == 10.0  # 1000 tokens at 100 a second
    assert expected["fern"] == 20.0
    assert expected["world"] == 1.0


@pytest.mark.slow
def test_other_work_is_told_beside_the_speed_and_not_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = {"vocabulary": 64, "width": 16, "layers": 1, "heads": 1, "kv_heads": 1, "hidden": 32,
             "context": 32}  # fmt: skip
    alone = calibrate.time_here({"m": shape})
    clock, waited = time.perf_counter, 0.0

    def delayed() -> float:  # each look at the clock comes a tenth of a second later
        nonlocal waited
        waited += 0.1
        return clock() + waited

    monkeypatch.setattr("time.perf_counter", delayed)
    beside = calibrate.time_here({"m": shape})
    assert beside["busy"] > 3 * alone["busy"] >= 2.9
    assert 0.2 < beside["tokens_per_s"]["m"] / alone["tokens_per_s"]["m"] < 5
