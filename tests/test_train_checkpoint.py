"""Checkpoints: whole or absent."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from regrow.train.checkpoint import Checkpoints


def filled(folder: Path, steps: tuple[int, ...], keep: int = 10, reach: int = 0) -> Checkpoints:
    checkpoints = Checkpoints(folder, keep, reach)
    for step in steps:
        checkpoints.save(step, {"x": torch.full((3,), float(step))}, {"note": f"at {step}"})
    checkpoints.wait()
    return checkpoints


def test_the_newest_comes_back_as_it_was(tmp_path: Path) -> None:
    found = filled(tmp_path, (1, 20)).load()
    assert found is not None
    assert (found.step, found.meta) == (20, {"note": "at 20"})
    assert torch.equal(found.tensors["x"], torch.full((3,), 20.0))


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "absent").load() is None


def test_old_ones_are_pruned_but_one_within_reach_of_a_rewind(tmp_path: Path) -> None:
    assert filled(tmp_path / "a", (0, 10, 20, 30), keep=2).steps() == [20, 30]
    assert filled(tmp_path / "b", (0, 10, 20, 30, 31, 32), keep=2, reach=15).steps() == [10, 31, 32]
    assert len(list((tmp_path / "a").iterdir())) == 4


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "manifest", "number"])
def test_a_broken_one_is_named_set_aside_and_the_previous_used(tmp_path: Path, damage: str) -> None:
    checkpoints = filled(tmp_path, (1, 2))
    weights, manifest = tmp_path / "00000002.safetensors", tmp_path / "00000002.json"
    data = bytearray(weights.read_bytes())
    if damage == "flip":
        data[-1] ^= 1
        weights.write_bytes(data)
    elif damage == "cut":
        weights.write_bytes(data[:-5])
    elif damage == "gone":
        weights.unlink()
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:-9])
    else:
        manifest.write_text(manifest.read_text().replace("at 2", "at 3"))
    found = checkpoints.load()
    assert found is not None
    assert found.step == 1
    assert len(checkpoints.notes) == 1
    assert "00000002" in checkpoints.notes[0]
    assert (tmp_path / "00000002.json.broken").exists()
    assert checkpoints.steps() == [1]


def test_tensors_without_their_manifest_do_not_count(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, (1, 2))
    (tmp_path / "00000002.json").unlink()
    found = checkpoints.load()
    assert found is not None
    assert found.step == 1
    assert checkpoints.notes == []


def test_one_can_go_back_and_discard(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, (1, 5, 9))
    found = checkpoints.load(at_most=8)
    assert found is not None
    assert found.step == 5
    checkpoints.discard_after(5)
    assert checkpoints.steps() == [1, 5]
    checkpoints.clear()
    assert checkpoints.steps() == []
