"""How the learning rate and the batch change over a run, counted in rows and never in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from regrow.errors import RegrowError


@dataclass(frozen=True, slots=True)
class Schedule:
    """The share of the peak rate: warm-up over steps, flat, decay over the last share of the rows.

    shape: `linear`, `cosine` or `flat` (no decay). floor: the share of the peak at the very end.
    """

    warmup: int = 60
    decay: float = 0.6
    shape: str = "linear"
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.shape not in ("linear", "cosine", "flat"):
            raise RegrowError(f"unknown schedule {self.shape!r}; use linear, cosine or flat")
        if not 0 <= self.decay <= 1:
            raise RegrowError(f"decay is a share of the run between 0 and 1, not {self.decay}")

    def scale(self, step: int, done: float) -> float:
        """The factor for the 0-based `step`, begun when the share `done` of all rows was used."""
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup > 0 else 1.0
        if self.shape == "flat" or self.decay == 0 or done <= 1 - self.decay:
            return warm
        x = min(1.0, (done - (1 - self.decay)) / self.decay)
        left = 1 - x if self.shape == "linear" else (1 + math.cos(math.pi * x)) / 2
        return warm * (self.floor + (1 - self.floor) * left)


def plan(total: int, rows: int, ramp_from: int = 0, ramp_over: int = 0) -> list[tuple[int, int]]:
    """The batches of a run as (first row, rows); together they are 0..total, each row once.

    With a ramp the batch grows linearly from `ramp_from` rows to `rows` while the first
    `ramp_over` rows pass (GPT-3 appendix B).
    """
    if total < 1 or rows < 1:
        raise RegrowError(f"a run needs rows and a batch of at least 1, not {total} and {rows}")
    batches = []
    at = 0
    while at < total:
        size = rows
        if ramp_from and at < ramp_over:
            size = max(1, round(ramp_from + (rows - ramp_from) * at / ramp_over))
        size = min(size, total - at)
        batches.append((at, size))
        at += size
    return batches
