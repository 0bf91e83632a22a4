"""How the learning rate and the batch change over a run, counted in rows and never in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from regrow.errors import RegrowError

#: What is left of the peak, above the floor, when the share x of the decay has passed.
_LEFT = {
    "linear": lambda x: 1 - x,
    "cosine": lambda x: (1 + math.cos(math.pi * x)) / 2,
    "1-sqrt": lambda x: 1 - math.sqrt(x),  # Hägele et al. 2024, section 3
}
SHAPES = (*_LEFT, "inverse-sqrt", "flat")


@dataclass(frozen=True, slots=True)
class Schedule:
    """The share of the peak rate: warm-up, flat, then decay over `decay` of the rows up to `end`.

    shape: how it decays: `linear`, `cosine`, `1-sqrt`, or `flat` (not at all); or `inverse-sqrt`,
    which holds the peak for `hold` steps and then falls with 1 / sqrt(step) (PaLM section 5).
    warmup: in steps; with warmup_share, in that share of the rows, and from a rate of 0.
    floor: the share of the peak that remains from `end` on. `end` is a share of the rows, above 1
    where a run stops before its decay does (BLOOM).
    """

    warmup: int = 60
    decay: float = 0.6
    shape: str = "linear"
    floor: float = 0.0
    end: float = 1.0
    hold: int = 10_000
    warmup_share: float = 0.0

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            known = ", ".join(SHAPES[:-1])
            raise RegrowError(f"unknown schedule {self.shape!r}; use {known} or {SHAPES[-1]}")
        if not 0 <= self.decay <= self.end:
            raise RegrowError(
                f"decay is a share of the run between 0 and {self.end:g}, not {self.decay}"
            )
        if not 0 <= self.floor <= 1:
            raise RegrowError(f"floor is a share of the peak between 0 and 1, not {self.floor}")

    def scale(self, step: int, done: float) -> float:
        """The factor for the 0-based `step`, begun when the share `done` of all rows was used."""
        if self.warmup_share > 0:
            warm = min(1.0, done / self.warmup_share)
        else:
            warm = min(1.0, (step + 1) / self.warmup) if self.warmup > 0 else 1.0
        if self.shape == "inverse-sqrt":
            return warm * max(self.floor, min(1.0, (max(1, self.hold) / (step + 1)) ** 0.5))
        if self.shape == "flat" or (done < self.end and done <= self.end - self.decay):
            return warm
        x = min(1.0, (done - (self.end - self.decay)) / self.decay) if self.decay else 1.0
        return warm * (self.floor + (1 - self.floor) * _LEFT[self.shape](x))


@dataclass(frozen=True, slots=True)
class Ramp:
    """How the batch grows to its full size, in rows.

    start: rows of the first batch, 0 for no ramp. `over` rows pass while it grows: smoothly (GPT-3
    appendix B), or with `by` in equal increments (BLOOM: 192 by 16 to 2048 over 9,765,625). Or
    `at`: pairs of a 0-based step and the rows from there on (PaLM 540B: 512, then 1024 at 50,000
    and 2048 at 115,000).
    """

    start: int = 0
    over: int = 0
    by: int = 0
    at: tuple[tuple[int, int], ...] = ()

    def check(self, rows: int) -> None:
        """Raise RegrowError where it does not lead to batches of `rows`."""
        sizes = [self.start, *(size for _, size in self.at), *(() if self.at else (rows,))]
        steps = [0, *(step for step, _ in self.at)]
        if not self.start:
            if self.by or self.at or self.over:
                raise RegrowError("a batch ramp needs the rows to start from")
        elif sizes != sorted(sizes) or sizes[-1] != rows:
            path = " to ".join(map(str, sizes))
            raise RegrowError(f"a batch ramp only grows and ends at {rows} rows, not {path}")
        elif self.at and (self.by or self.over):
            raise RegrowError("a batch ramp has either steps or a span it grows over, not both")
        elif sorted(set(steps)) != steps:
            raise RegrowError(f"the steps of a batch ramp must rise from above 0, not {steps[1:]}")
        elif self.by and (rows - self.start) % self.by:
            raise RegrowError(f"a batch ramp from {self.start} by {self.by} does not meet {rows}")

    def size(self, rows: int, step: int, at: int) -> int:
        """The rows of the batch of a 0-based step that begins at row `at`."""
        if self.at:
            return next((size for begin, size in reversed(self.at) if step >= begin), self.start)
        if not self.start or at >= self.over:
            return rows
        if self.by:  # whole numbers, as Megatron counts, so that no rounding moves an increment
            return self.start + self.by * (at * ((rows - self.start) // self.by) // self.over)
        return max(1, round(self.start + (rows - self.start) * at / self.over))


def plan(total: int, rows: int, ramp: Ramp | None = None) -> list[tuple[int, int]]:
    """The batches of a run as (first row, rows); together they are 0..total, each row once.

    Raises RegrowError for a ramp that does not lead to `rows`.
    """
    if total < 1 or rows < 1:
        raise RegrowError(f"a run needs rows and a batch of at least 1, not {total} and {rows}")
    ramp = ramp or Ramp()
    ramp.check(rows)
    batches: list[tuple[int, int]] = []
    at = 0
    while at < total:
        size = min(ramp.size(rows, len(batches), at), total - at)
        batches.append((at, size))
        at += size
    return batches
