"""Metrics mirrored to TensorBoard and Weights & Biases: every step once, also after a restart."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from train_tiny import CONFIG, SETTINGS, batch_of, loss_of, run
from tree_fakes import STAGES, chain, tokens
from tree_kit import Garden

from regrow.errors import RegrowError
from regrow.files import read_jsonl, write_jsonl
from regrow.model.decoder import Decoder
from regrow.train import log
from regrow.train.log import follow
from regrow.train.loop import train
from regrow.tree.stage import Stage, StageContext

Read = Callable[[Path], dict[int, list[float]]]


def tensorboard(folder: Path) -> dict[int, list[float]]:
    """The losses by step, all that were written."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found: dict[int, list[float]] = {}
    for path in (folder / "tensorboard").iterdir():
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.tag == "loss":
                    found.setdefault(event.step, []).append(value.tensor.float_val[0])
    return found


def wandb(folder: Path) -> dict[int, list[float]]:
    """The losses by step in the files of all parts of an offline run."""
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    found: dict[int, list[float]] = {}
    for path in sorted((folder / "wandb").glob("offline-run-*/*.wandb")):
        for data in leveldb(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            items = {(i.key or ".".join(i.nested_key)): i.value_json for i in record.history.item}
            if "loss" in items:
                found.setdefault(int(items["_step"]), []).append(float(items["loss"]))
    return found


def leveldb(data: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: blocks of 32 KiB, pieces of (checksum, length, kind)."""
    at, block, record = 7, 32_768, b""
    while at + 7 <= len(data):
        if block - at % block < 7:
            at += block - at % block
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        if at + 7 + length > len(data):
            return  # it is being written
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield record
            record = b""


def complete(read: Read, folder: Path, steps: int) -> dict[int, list[float]]:
    """What was written, once it is on disk: W&B's own process may lag a little."""
    end = time.monotonic() + 30
    while len(found := read(folder)) < steps and time.monotonic() < end:
        time.sleep(0.1)
    return found


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(log, "_EVERY", 0.02)


def interrupted(folder: Path, after: int) -> None:
    """Train until so many losses were computed, then stop as Ctrl-C does."""
    left = after

    def loss(model: Decoder, batch: torch.Tensor) -> tuple[torch.Tensor, int]:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGINT)
        return loss_of(model, batch)

    with pytest.raises(KeyboardInterrupt):
        train(Decoder(CONFIG, seed=1), loss, batch_of, SETTINGS, folder)


@pytest.mark.parametrize(
    ("name", "read"),
    [("tensorboard", tensorboard), ("wandb", wandb)],
)
@pytest.mark.slow  # to import them takes seconds
def test_every_step_is_there_once_also_after_a_restart(
    tmp_path: Path, name: str, read: Read
) -> None:
    pytest.importorskip(name)
    with follow(tmp_path, [name]):
        interrupted(tmp_path, 18)
    assert sorted(complete(read, tmp_path, 18)) == list(range(18))
    with open(tmp_path / "metrics.jsonl", "a") as file:  # killed after its last checkpoint
        file.write('{"step": 18, "rows": 70, "loss": 3.0}\n{"step": 19, "ro')
    with follow(tmp_path, [name]):
        run(tmp_path)
    rows = list(read_jsonl(tmp_path / "metrics.jsonl"))
    found = complete(read, tmp_path, len(rows))
    assert sorted(found) == [row["step"] for row in rows]
    assert all(len(losses) == 1 for losses in found.values())
    for row in rows[:18] + rows[20:]:
        assert found[row["step"]] == pytest.approx([row["loss"]])


class Collected:
    """A writer that remembers."""

    rows: dict[str, list[tuple[int, dict[str, float]]]]

    def __init__(self, folder: Path) -> None:
        self.last, self.own = -1, self.rows.setdefault(folder.name, [])

    def write(self, step: int, values: dict[str, float]) -> None:
        self.own.append((step, values))

    def close(self) -> None:
        self.own.append((-1, {}))


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Collected, "rows", {}, raising=False)
    monkeypatch.setattr(log, "_WRITERS", {"tensorboard": Collected})
    monkeypatch.setattr(log, "find_spec", lambda name: True)
    return Collected.rows


def test_numbers_of_steps_are_passed_on_and_events_are_not(
    tmp_path: Path, collected: dict[str, Any]
) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 0, "loss": 2, "verdict": "skip"}\n'
        '{"step": 0, "event": "rewind", "to": 0}\n{"step": 1, "loss": null, "norm": 0.5}\n'
    )
    with follow(tmp_path, ["tensorboard"]):
        (tmp_path / "reward").mkdir()
        (tmp_path / "reward" / "metrics.jsonl").write_text('{"step": 0, "loss": 1.0}\n')
    assert collected[tmp_path.name] == [(0, {"loss": 2.0}), (1, {"norm": 0.5}), (-1, {})]
    assert collected["reward"] == [(0, {"loss": 1.0}), (-1, {})]


def test_trouble_with_a_writer_does_not_stop_the_training(
    tmp_path: Path, collected: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics.jsonl").write_text("no JSON\n")
    with follow(tmp_path, ["tensorboard"]):
        pass
    assert "logging to tensorboard stopped: Expecting value" in capsys.readouterr().out


def test_a_missing_package_and_an_unknown_name_are_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RegrowError, match="tensorboard or wandb, not 'mlflow'"):
        log.check(["mlflow"])
    monkeypatch.setenv("REGROW_LOG_TO", "")
    monkeypatch.setattr(log, "find_spec", lambda name: None)
    garden = Garden(tmp_path, monkeypatch)
    code, _, errors = garden.grow("--log-to", "wandb")
    assert (code, garden.run.exists()) == (1, False)
    assert "wandb is not installed; `pip install 'regrow[wandb]'` adds it" in errors


def test_a_run_mirrors_the_metrics_of_its_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collected: dict[str, Any]
) -> None:
    monkeypatch.setenv("REGROW_LOG_TO", "")
    garden = Garden(tmp_path, monkeypatch)

    def grow(context: StageContext) -> dict[str, Any]:
        write_jsonl(context.folder / "metrics.jsonl", [{"step": 0, "loss": 1.5}])
        return chain(context)

    monkeypatch.setitem(STAGES, "pretrain", Stage(grow, tokens))
    assert garden.grow("--to", "oak", "--log-to", "tensorboard")[0] == 0
    assert collected == {"oak": [(0, {"loss": 1.5}), (-1, {})]}
