"""Checkpoints: whole or absent."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from regrow.errors import RegrowError
from regrow.train.checkpoint import Checkpoints, write_tensors


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


def test_a_run_whose_checkpoints_are_all_broken_does_not_start_over(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, (1, 2))
    good = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for weights in tmp_path.glob("*.safetensors"):
        weights.write_bytes(b"")
    for _ in range(2):  # the second time nothing but what was set aside is there
        with pytest.raises(RegrowError, match=r"\*.broken files in their place, or delete that"):
            checkpoints.load()
    for path, data in good.items():
        path.write_bytes(data)
    found = checkpoints.load()
    assert found is not None
    assert found.step == 2


def test_what_cannot_be_read_now_is_not_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = filled(tmp_path, (1,))

    def refuse(path: Path) -> str:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr("regrow.train.checkpoint.sha256_file", refuse)
    with pytest.raises(RegrowError, match=r"cannot read .*: Input/output error; .* run again"):
        checkpoints.load()
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


def test_some_stay_for_good(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2, spaced=20)
    for step in (0, 10, 20, 30, 40, 50, 60, 70):
        checkpoints.save(step, {"x": torch.zeros(1)}, {})
    assert checkpoints.steps() == [0, 20, 40, 60, 70]


def test_the_file_is_what_safetensors_reads_and_its_digest_is_that_of_its_bytes(
    tmp_path: Path,
) -> None:
    chance = torch.Generator().manual_seed(0)
    tensors = {
        "bytes": torch.tensor([1, 2, 255], dtype=torch.uint8),
        "b": torch.randn(3, 5, generator=chance).bfloat16(),
        "é": torch.randn(2, 0, 4),
        "a": torch.tensor(7.0),
        "long": torch.arange(9).view(3, 3),
    }
    digest = write_tensors(tmp_path / "x.safetensors", tensors)
    assert digest == hashlib.sha256((tmp_path / "x.safetensors").read_bytes()).hexdigest()
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_what_is_saved_is_as_it_was_at_that_moment(tmp_path: Path) -> None:
    checkpoints, weights, told = Checkpoints(tmp_path), torch.zeros(1000, 1000), [1]
    checkpoints.save(1, {"x": weights, "turned": weights.T}, {"told": told})
    weights.fill_(5)
    told.append(2)
    found = checkpoints.load()
    assert found is not None
    assert found.tensors["x"].sum() == 0
    assert found.tensors["turned"].sum() == 0
    assert found.meta == {"told": [1]}


def test_writing_does_not_hold_up_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed, fsync = threading.Event(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda n: (allowed.wait(30), fsync(n)))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"x": torch.zeros(1)}, {})
        checkpoints.check()
        assert not (tmp_path / "00000001.json").exists()
        allowed.set()
    assert (tmp_path / "00000001.json").exists()  # the end of `with` waited


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)


def test_a_failure_in_the_background_comes_up_at_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = filled(tmp_path, (1,))
    with monkeypatch.context() as patched:
        full_disk(patched)
        checkpoints.save(2, {"x": torch.zeros(1)}, {})
        with pytest.raises(RegrowError, match="No space left on device; free space"):
            checkpoints.wait()
    assert checkpoints.steps() == [1]
    assert not list(tmp_path.glob(".*.partial"))
    checkpoints.save(3, {"x": torch.zeros(1)}, {})
    assert checkpoints.steps() == [1, 3]


def test_a_failed_last_write_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk(monkeypatch)
    with pytest.raises(RegrowError, match="No space left"), Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(2, {"x": torch.zeros(1)}, {})


def test_a_second_user_of_the_folder_is_refused(tmp_path: Path) -> None:
    with (
        Checkpoints(tmp_path),
        pytest.raises(RegrowError, match=f"in use by process {os.getpid()}"),
        Checkpoints(tmp_path),
    ):
        pass
    with Checkpoints(tmp_path):
        pass
