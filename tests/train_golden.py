"""A short run whose loss curves stand in tests/golden; as a program it makes them anew.

    python tests/train_golden.py        # only after a change that is meant to move the curves

Sixty steps of AdamW on counting rows, the same in each precision. In step 30 the gradient, not the
loss, is 2^14 times too large, which fp16 cannot hold at its loss scale of 2^16; fp32 and bf16 clip
it.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from train_tiny import batch_of

from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.train.guard import GuardSettings
from regrow.train.loop import TrainSettings, train
from regrow.train.optim import OptimSettings
from regrow.train.schedule import Schedule

FOLDER = Path(__file__).parent / "golden"
CONFIG = ModelConfig(vocabulary=32, width=32, layers=2, heads=2, kv_heads=1, hidden=48, context=12)
SETTINGS = TrainSettings(
    total=480, rows=8, seed=7, guard=GuardSettings("ignore"), device="cpu", every=100,
    optim=OptimSettings("adamw", rate=5e-3, decay=0.1, clip=1.0, betas=(0.9, 0.95)),
    schedule=Schedule(warmup=10, decay=0.5, shape="cosine", floor=0.1),
)  # fmt: skip
FORCED, FORCE = 30, 2.0**14


def batches(step: int, row: int, rows: int) -> tuple[bool, torch.Tensor]:
    return step == FORCED, batch_of(step, row, rows)


def loss_of(model: Decoder, batch: tuple[bool, torch.Tensor]) -> tuple[torch.Tensor, int]:
    forced, ids = batch
    loss, n = model.loss(ids[:, :-1], ids[:, 1:])
    return (loss + (loss - loss.detach()) * (FORCE - 1) if forced else loss), n


def curve(precision: str, folder: Path) -> dict[str, Any]:
    """The losses of every step, and in fp16 the loss scale after it."""
    from dataclasses import replace

    model = Decoder(CONFIG, seed=1)
    train(model, loss_of, batches, replace(SETTINGS, precision=precision), folder)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found: dict[str, Any] = {"loss": [round(row["loss"], 6) for row in rows]}
    if precision == "fp16":
        found["loss_scale"] = [row["loss_scale"] for row in rows]
        found["overflow"] = [row["step"] for row in rows if row.get("verdict") == "overflow"]
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    for name in ("fp32", "bf16", "fp16"):
        with tempfile.TemporaryDirectory() as scratch:
            made = curve(name, Path(scratch))
        (FOLDER / f"{name}.json").write_text(json.dumps(made) + "\n")
        print(name, made["loss"][0], made["loss"][-1])
