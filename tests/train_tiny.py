"""A tiny run that tests share; as a program it trains in a folder until it is done or killed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.seeds import derive
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


if __name__ == "__main__":
    torch.set_num_threads(1)
    _, trained = run(Path(sys.argv[1]))
    torch.save(weights(trained), Path(sys.argv[1]) / "weights.pt")
