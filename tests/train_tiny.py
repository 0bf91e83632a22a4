"""A tiny run that tests share, plain or with bad batches, here or in a process to be killed."""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.seeds import derive
from regrow.train.guard import GuardSettings
from regrow.train.loop import TrainSettings, TrainSummary, train
from regrow.train.schedule import Ramp, Schedule

CONFIG = ModelConfig(vocabulary=32, width=16, layers=1, heads=2, kv_heads=1, hidden=16, context=12)
SETTINGS = TrainSettings(
    total=240, rows=4, precision="bf16", every=7, schedule=Schedule(warmup=5), seed=3,
    ramp=Ramp(2, over=40),
)  # fmt: skip


def batch_of(step: int, row: int, rows: int) -> torch.Tensor:
    """Counting rows: each token is the one before plus a step drawn for the row."""
    starts = [derive("row", i) % 32 for i in range(row, row + rows)]
    strides = [derive("stride", i) % 3 + 1 for i in range(row, row + rows)]
    return torch.tensor([[(s + d * t) % 32 for t in range(13)] for s, d in zip(starts, strides)])


def loss_of(model: Decoder, batch: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Next-token loss with a little noise, so that the random state matters."""
    loss, n = model.loss(batch[:, :-1], batch[:, 1:])
    return loss * (1 + 0.01 * torch.rand(())), n


def run(
    folder: Path, settings: TrainSettings = SETTINGS, **more: Any
) -> tuple[TrainSummary, Decoder]:
    model = Decoder(CONFIG, seed=1)
    torch.manual_seed(12345)
    return train(model, loss_of, batch_of, settings, folder, **more), model


def weights(model: Decoder) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


GUARDED = replace(SETTINGS, guard=GuardSettings(window=16, ready=8, before=3, after=2, rewinds=2))


def run_poisoned(
    folder: Path,
    bad: set[int],
    calls: list[int] | None = None,
    settings: TrainSettings = GUARDED,
    loss_of: Any = loss_of,
) -> tuple[TrainSummary, torch.Tensor]:
    """A run in which some steps have no finite loss; `calls` takes the steps as they come."""

    def batches(step: int, row: int, rows: int) -> tuple[bool, torch.Tensor]:
        if calls is not None:
            calls.append(step)
        return step in bad, batch_of(step, row, rows)

    def spoiled(model: Decoder, batch: tuple[bool, torch.Tensor]) -> tuple[torch.Tensor, int]:
        loss, n = loss_of(model, batch[1])
        return (loss * math.nan if batch[0] else loss), n

    model = Decoder(CONFIG, seed=1)
    return train(model, spoiled, batches, settings, folder), weights(model)


#: Steps whose loss is not finite in the run "spiky": one alone, and enough in a row to rewind.
BAD = {12, 30, 31, 32}


def run_to_the_end(folder: Path, kind: str) -> None:
    """Train in `folder`, slowly enough to be killed; "slow" takes long over every write."""
    torch.set_num_threads(1)
    if kind == "slow":
        fsync = os.fsync
        os.fsync = lambda number: (time.sleep(0.02), fsync(number))[1]  # type: ignore[assignment]

    def leisurely(model: Decoder, batch: torch.Tensor) -> tuple[torch.Tensor, int]:
        time.sleep(0.005)
        return loss_of(model, batch)

    bad, settings = (BAD, GUARDED) if kind == "spiky" else (set(), SETTINGS)
    found = run_poisoned(folder, bad, settings=settings, loss_of=leisurely)[1]
    torch.save(found, folder / "weights.pt")
