"""Curves over sizes: a straight line in the logarithm against a line that breaks, and crossovers.

Which shape a curve has is asked of sizes that the fit has not seen, because a fit with a break has
one parameter more and is never worse on those that it has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regrow.errors import RegrowError

Array = NDArray[np.float64]
#: Sizes without which held-out errors say nothing: a break has three parameters.
LEAST = 5


@dataclass(frozen=True, slots=True)
class Fit:
    """`y = start + slope * max(0, log2 x - log2 at)`; a straight line where `at` is None."""

    start: float
    slope: float
    at: float | None

    def __call__(self, x: Sequence[float]) -> Array:
        """The fitted values."""
        z = np.log2(np.asarray(x, dtype=np.float64))
        if self.at is not None:
            z = np.maximum(0.0, z - math.log2(self.at))
        return self.start + self.slope * z


def log_linear(x: Sequence[float], y: Sequence[float]) -> Fit:
    """The least-squares line in log2 x."""
    start, slope = _least_squares(np.log2(np.asarray(x, dtype=np.float64)), np.asarray(y))
    return Fit(start, slope, None)


def breakpoint_fit(x: Sequence[float], y: Sequence[float], grid: int = 40) -> Fit:
    """Flat up to a point and a line in log2 x after it, by least squares over points on a grid.

    The break lies between the least x and the second largest, so that a slope has two points.
    """
    z, values = np.log2(np.asarray(x, dtype=np.float64)), np.asarray(y, dtype=np.float64)
    order = np.unique(z)
    best: tuple[float, Fit] | None = None
    for at in np.linspace(order[0], order[-2], grid):
        risen = np.maximum(0.0, z - at)
        start, slope = _least_squares(risen, values)
        error = float(((start + slope * risen - values) ** 2).sum())
        if best is None or error < best[0] - 1e-15:
            best = error, Fit(start, slope, float(2**at))
    assert best is not None
    return best[1]


def _least_squares(z: Array, y: Array) -> tuple[float, float]:
    away = z - z.mean()
    slope = float(away @ (y - y.mean()) / (away @ away)) if (away @ away) > 0 else 0.0
    return float(y.mean() - slope * z.mean()), slope


def held_out_advantage(x: Sequence[float], y: Sequence[float]) -> float:
    """How much better the broken line foretells a left-out size than the straight one does.

    The mean squared error of the line less that of the break, each inner size left out in turn
    (an end would be extrapolated). Positive: a phase change. Raises RegrowError under five sizes.
    """
    if len(x) < LEAST:
        raise RegrowError(f"a breakpoint needs at least {LEAST} sizes, got {len(x)}; add some")
    gaps = []
    for left in range(1, len(x) - 1):
        kept = [i for i in range(len(x)) if i != left]
        seen = [x[i] for i in kept], [y[i] for i in kept]
        straight, broken = log_linear(*seen), breakpoint_fit(*seen)
        point = [x[left]]
        gaps.append((straight(point)[0] - y[left]) ** 2 - (broken(point)[0] - y[left]) ** 2)
    return float(np.mean(gaps))


def crossover(x: Sequence[float], difference: Array) -> Array:
    """Where a difference [draws, sizes] first rises through zero, in log2 x; else NaN.

    Between two sizes the difference is taken as a line. A difference above zero from the start
    crosses at the least size.
    """
    z = np.log2(np.asarray(x, dtype=np.float64))
    rows = np.atleast_2d(difference)
    found = np.full(len(rows), np.nan)
    above = rows > 0
    for i, row in enumerate(rows):
        if above[i, 0]:
            found[i] = z[0]
            continue
        rises = np.flatnonzero(above[i, 1:] & ~above[i, :-1])
        if len(rises):
            k = int(rises[0])
            found[i] = z[k] + (z[k + 1] - z[k]) * -row[k] / (row[k + 1] - row[k])
    return found


def sharpness(y: Sequence[float]) -> float:
    """The largest step between neighbouring sizes as a share of the whole range; 0 if flat.

    1 / (sizes - 1) is even growth, 1 a single jump (after Schaeffer, Miranda and Koyejo 2023).
    """
    values = np.asarray(y, dtype=np.float64)
    whole = float(np.ptp(values))
    return float(np.abs(np.diff(values)).max()) / whole if whole > 0 else 0.0
