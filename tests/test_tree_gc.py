"""Freeing what no finished node needs, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tree_kit import Garden

from regrow.errors import RegrowError
from regrow.files import lock
from regrow.tree.gc import amount, held, leftovers


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch:
        garden = Garden(folder, patch)
        assert garden.grow()[0] == 0
    return garden.runs


@pytest.fixture
def grown(once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Garden:
    garden = Garden(tmp_path, monkeypatch)
    shutil.copytree(once, garden.runs)
    return garden


def put(path: Path, size: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def paths(garden: Garden) -> dict[str, int]:
    return {str(one.path.relative_to(garden.run)): one.size for one in leftovers(garden.run)}


def test_a_fresh_run_has_nothing_to_free_but_logs(grown: Garden) -> None:
    assert [path for path in paths(grown) if not path.startswith("workers/")] == []


def test_leftovers_are_shown_largest_first_with_sizes(grown: Garden) -> None:
    put(grown.run / "oak/checkpoints/00000007.safetensors", 300)
    put(grown.run / "leaf/reward/checkpoints/00000007.safetensors", 200)
    put(grown.run / "twig/supervised/model.safetensors", 100)
    put(grown.run / "twig/supervised/metrics.jsonl", 7)
    put(grown.run / "twig/reward/reward.safetensors", 70)
    put(grown.run / "oak/00000007.json.broken", 50)
    put(grown.run / "corpus/.report.json.123.partial", 40)
    put(grown.run / ".corpus.work/pages/0.parquet", 30)
    put(grown.run / "old/edge.json", 20).write_text('{"stage": "rlhf"}   ')
    put(grown.run / "guest/edge.json", 20).write_text('{"stage": "import"} ')
    found = {name: size for name, size in paths(grown).items() if "workers" not in name}
    assert list(found.items()) == [
        ("oak/checkpoints", 300), ("leaf/reward/checkpoints", 200),
        ("twig/supervised/model.safetensors", 100), ("oak/00000007.json.broken", 50),
        ("corpus/.report.json.123.partial", 40), (".corpus.work", 30), ("old", 20),
    ]  # fmt: skip


def test_a_node_that_goes_on_from_its_checkpoints_keeps_them(grown: Garden) -> None:
    for name in ("edge.json", "model.safetensors"):
        (grown.run / "leaf" / name).unlink()
    put(grown.run / "leaf/growing.json")
    put(grown.run / "leaf/checkpoints/00000007.safetensors")
    put(grown.run / "leaf/checkpoints/00000009.safetensors.broken")
    put(grown.run / "leaf/dialogue/model.safetensors")
    (grown.run / "corpus/edge.json").unlink()
    put(grown.run / ".corpus.work/pages/0.parquet")
    put(grown.run / "workers/leaf/log.txt")
    assert not {p for p in paths(grown) if p.startswith(("leaf", ".corpus", "workers/leaf"))}


def test_users_files_and_links_stay(grown: Garden, tmp_path: Path) -> None:
    notes, mine = put(grown.run / "notes.txt"), put(grown.run / "mine/checkpoints/a.txt")
    elsewhere = put(tmp_path / "elsewhere/big.bin").parent
    (grown.run / "oak/checkpoints").symlink_to(elsewhere)
    code, _, errors = grown.call("gc", "--yes")
    assert (code, errors) == (0, "")
    assert notes.is_file() and mine.is_file() and (elsewhere / "big.bin").is_file()


def test_it_asks_first_and_a_dry_run_does_not(
    grown: Garden, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(grown.run / "oak/checkpoints/1.json")
    _, out, _ = grown.call("gc", "--dry-run")
    assert "oak/checkpoints  checkpoints of a finished node" in out
    monkeypatch.setattr("typer.confirm", lambda text: False)
    grown.call("gc")
    assert path.is_file()
    weights = grown.weights()
    monkeypatch.setattr("typer.confirm", lambda text: True)
    grown.call("gc")
    assert not path.parent.exists()
    assert grown.weights() == weights
    assert "nothing to do" in grown.grow()[1]


def test_json_lists_all_and_frees_only_with_yes(grown: Garden) -> None:
    path = put(grown.run / "oak/checkpoints/1.json", 12)
    (told,) = json.loads(grown.call("gc", "--json")[1])
    row = {"path": "runs/sapling/oak/checkpoints", "why": "checkpoints of a finished node"}
    assert row | {"bytes": 12} in told["leftovers"]
    assert (told["freed"], path.is_file()) == (0, True)
    (told,) = json.loads(grown.call("gc", "sapling", "--json", "--yes")[1])
    assert told["freed"] >= 12
    assert not path.exists()


def test_a_run_that_is_growing_is_left_alone(grown: Garden) -> None:
    path = put(grown.run / "oak/checkpoints/1.json")
    with lock(grown.run):
        code, _, errors = grown.call("gc", "--yes")
        assert (code, path.is_file()) == (0, True)
        assert "left alone: runs/sapling is in use by process" in errors
        assert grown.call("gc", "sapling", "--yes")[0] == 1
    worker = put(grown.run / "workers/oak/.lock").parent
    with lock(worker), pytest.raises(RegrowError, match="is in use"), held(grown.run):
        pass


def test_amounts_are_said_as_people_say_them() -> None:
    said = [amount(size) for size in (0, 999, 4_100, 87_400_000, 1_300_000_000)]
    assert said == ["0 B", "999 B", "4.1 kB", "87 MB", "1.3 GB"]
