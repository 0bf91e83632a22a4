"""What makes a run the one it is, so that a folder goes on with nothing else."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from regrow.errors import RegrowError
from regrow.files import sha256_json

if TYPE_CHECKING:
    from regrow.train.loop import TrainSettings


def identity(model: nn.Module, settings: TrainSettings, data: str) -> dict[str, Any]:
    """The settings and shapes as digests, what `data` says of the data, and how weights began.

    How often to save and where to compute are not what is trained. Of the weights one of each
    parameter stands for the rest: enough to tell two starts apart, and numbers, because other
    threads or another machine may make the same start with other last bits.
    """
    same = replace(settings, every=0, keep=0, spaced=0, device="")
    weights = dict(model.named_parameters())
    return {
        "settings": sha256_json(asdict(same)),
        "model": sha256_json({name: list(p.shape) for name, p in weights.items()}),
        "data": data,
        "starting weights": [float(p.detach().flatten()[p.numel() // 2]) for p in weights.values()],
    }


def check(saved: Any, mine: dict[str, Any], folder: Path) -> None:
    """Raise RegrowError where `folder` was saved by a run of another identity."""
    if not isinstance(saved, dict):
        raise RegrowError(
            f"{folder} was begun by an older regrow, which did not note its data; "
            "delete that folder to start anew"
        )
    if other := [name for name in mine if not _alike(saved[name], mine[name])]:
        raise RegrowError(
            f"{folder} holds a run that differs in {' and '.join(other)}; give it what it began "
            "with, or delete that folder to start anew"
        )


def _alike(a: Any, b: Any) -> bool:
    if isinstance(a, str):
        return bool(a == b)
    near = (math.isclose(x, y, rel_tol=1e-3, abs_tol=1e-7) for x, y in zip(a, b))
    return len(a) == len(b) and all(near)
