"""Effects that were measured in several training runs on the same items.

Seeds and items are crossed: each seed answers all items, each item is met by all seeds. An effect
that is to hold for other seeds and for other items has an error from both. Three or five seeds are
few, so intervals are t intervals with the degrees of freedom that the errors have, never the bare
percentiles of a bootstrap over three numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from regrow.evaluate.statistics import clustered_error, detectable, labels_of
from regrow.seeds import rng

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Effect:
    """A mean effect over runs, with the parts of its variance.

    `by_run` are the runs' own effects; `of_seeds` and `of_items` the variances of the mean that
    come with another draw of seeds and of item families. With one run `of_seeds` is NaN and the
    interval knows nothing of seeds.
    """

    mean: float
    low: float
    high: float
    p: float
    error: float
    freedom: float
    by_run: tuple[float, ...]
    families: int
    of_seeds: float
    of_items: float

    def detectable(self, power: float = 0.8) -> float:
        """The smallest true effect that runs like these find with this power."""
        return detectable(self.error, self.freedom, power)

    def seeds_for(self, effect: float, most: int = 50) -> int | None:
        """Runs with which an effect of this size would be found; None where items are too few.

        The error of the runs at hand may be wider than its parts: where all of them agree.
        """
        runs = len(self.by_run)
        if runs < 2 or effect <= 0:
            return None
        if self.detectable() <= effect:
            return runs
        if self.of_seeds == 0:
            return None
        for count in range(runs + 1, most + 1):
            seeds = self.of_seeds * runs / count
            error = math.sqrt(seeds + self.of_items)
            freedom = max(1.0, self.freedom * (count - 1) / (runs - 1))
            if detectable(error, freedom) <= effect:
                return count
        return None


def crossed(values: Array, clusters: Sequence[Hashable], level: float = 0.95) -> Effect:
    """The mean effect over S runs and n items in families, with its two-way interval.

    `values[s, i]` is what item i shows in run s, so that a run's effect is its row's mean. The
    variance is that of seeds, plus that of families, less the part that both hold (Cameron,
    Gelbach and Miller 2011), each with its small-sample factor and its own t quantile.
    """
    values = np.atleast_2d(np.asarray(values, dtype=np.float64))
    runs, n = values.shape
    effects = values.mean(axis=1)
    items, freedom_items, families = clustered_error(values.mean(axis=0).tolist(), clusters)
    of_items = items**2
    if runs < 2:
        return _effect(effects, of_items, freedom_items, families, math.nan, of_items, level)
    of_seeds = float(effects.var(ddof=1)) / runs
    labels, count = labels_of(clusters)
    sums = np.stack([np.bincount(labels, weights=row - row.mean(), minlength=count) / n
                     for row in values])  # fmt: skip
    spare = 1 - np.bincount(labels, minlength=count) / n
    away = (sums - sums.mean(axis=0)) ** 2 / np.maximum(spare, 1 / n)
    both = float(away.sum()) / (runs * (runs - 1))
    rest = max(0.0, of_items - both)
    variance = of_seeds + rest
    freedom = pooled_freedom((of_seeds, rest), (runs - 1, freedom_items), level)
    return _effect(effects, variance, freedom, families, of_seeds, rest, level)


def pooled_freedom(variances: Sequence[float], freedoms: Sequence[float], level: float) -> float:
    """Degrees of freedom for a sum of independent variance estimates of few degrees each.

    Satterthwaite's formula gives intervals that hold the truth too seldom where a part has one or
    two degrees (91 to 96 % in benchmarks/coverage.py); `sqrt(sum t_k^2 v_k)`, which never does
    (Banerjee 1960), is too wide (95 to 99 %). The half-width is the quadratic mean of the two; the
    answer is the t distribution with that quantile.
    """
    from scipy.optimize import brentq
    from scipy.stats import t

    whole = sum(variances)
    if math.isnan(whole):
        return math.nan
    if whole <= 0:
        return float(max(freedoms))
    freedoms = [max(1.0, freedom) for freedom in freedoms]
    low, high = min(freedoms), max(freedoms)
    if high - low < 1e-9 and min(variances) == 0:
        return low
    tail = (1 + level) / 2
    matched = whole**2 / sum(v * v / freedom for v, freedom in zip(variances, freedoms))
    wide = sum(t.ppf(tail, freedom) ** 2 * v for v, freedom in zip(variances, freedoms)) / whole
    wanted = math.sqrt((float(t.ppf(tail, matched)) ** 2 + wide) / 2)
    top = sum(freedoms) + 1
    return float(brentq(lambda freedom: float(t.ppf(tail, freedom)) - wanted, low - 1e-6, top))


def _effect(
    effects: Array, variance: float, freedom: float, families: int, of_seeds: float,
    of_items: float, level: float,
) -> Effect:  # fmt: skip
    """An effect with its t interval.

    Where all items of all runs show the same, the interval is as wide as the share of families that
    may differ unseen: Clopper and Pearson's limit for none in F, for values within +-1.
    """
    from scipy.stats import t

    mean, error = float(effects.mean()), math.sqrt(variance)
    freedom = freedom if math.isnan(freedom) else max(1.0, freedom)
    quantile = float(t.ppf((1 + level) / 2, freedom))
    if error != 0:  # NaN where the error is not known
        p = float(2 * t.sf(abs(mean) / error, freedom))
    else:
        p = 1.0 if mean == 0 else min(1.0, 2 * 0.5 ** max(len(effects), families))
        if families > 1:
            error = (1 - ((1 - level) / 2) ** (1 / families)) / quantile
    half = quantile * error
    runs = tuple(float(value) for value in effects)
    return Effect(mean, mean - half, mean + half, p, error, freedom, runs, families,
                  of_seeds, of_items)  # fmt: skip


def pooled(effects: Sequence[Effect]) -> Effect:
    """The mean over world variants, whose runs and items are independent of each other's."""
    if len(effects) == 1:
        return effects[0]
    count = len(effects)
    variances = [one.error**2 / count**2 for one in effects]
    error = math.sqrt(sum(variances))
    freedom = pooled_freedom(variances, [one.freedom for one in effects], 0.95)
    from scipy.stats import t

    mean = sum(one.mean for one in effects) / count
    half = float(t.ppf(0.975, freedom)) * error
    p = float(2 * t.sf(abs(mean) / error, freedom)) if error != 0 else min(1.0, effects[0].p)
    return replace(
        effects[0], mean=mean, low=mean - half, high=mean + half, p=p, error=error, freedom=freedom,
        by_run=tuple(value for one in effects for value in one.by_run),
        families=sum(one.families for one in effects),
        of_seeds=sum(one.of_seeds for one in effects) / count**2,
        of_items=sum(one.of_items for one in effects) / count**2,
    )  # fmt: skip


def over_seeds(effects: Sequence[float], level: float = 0.95) -> Effect:
    """The mean of effects that have no items (losses, fitted points), by a t interval over runs."""
    d = np.asarray(effects, dtype=np.float64)
    if len(d) < 2:
        return _effect(d, 0.0, 1.0, 0, math.nan, 0.0, level)
    of_seeds = float(d.var(ddof=1)) / len(d)
    return _effect(d, of_seeds, len(d) - 1.0, 0, of_seeds, 0.0, level)


def sign_flip(effects: Sequence[float], *, two_sided: bool = True) -> float:
    """The exact p value of a mean effect over runs when each one's sign is a coin (Fisher 1935).

    Five runs that all agree give 1/16 two-sided and 1/32 one-sided, in the direction up: fewer
    cannot be significant by this test alone.
    """
    d = np.asarray(effects, dtype=np.float64)
    signs = np.array(list(product((1.0, -1.0), repeat=len(d))))
    sums = signs @ d
    seen = sums[0]
    if two_sided:
        return float((np.abs(sums) >= abs(seen) - 1e-12).mean())
    return float((sums >= seen - 1e-12).mean())


def hierarchical_bootstrap(
    sums: Array,
    counts: Array,
    statistic: Callable[[Array], Array],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Effect:
    """An effect that is no mean (a crossover, a fitted point) with seeds and families resampled.

    `sums[s, f, k]` and `counts[s, f, k]` add up family f's items in run s under condition k;
    `statistic` takes means of the conditions, [draws, K], to [draws] numbers. Seeds alone, families
    alone and both are drawn anew; the three variances are put together as in `crossed`, with
    S/(S-1) and F/(F-1), and the interval is a t interval (Hesterberg 2015: percentiles of so few
    are too narrow). Draws in which the statistic is not finite are left out; where these are half
    or more, the error is NaN.
    """
    runs, families, _ = sums.shape
    random = rng("hierarchical bootstrap", seed, runs, families)

    def spread(over_runs: bool, over_families: bool) -> float:
        picked_runs = random.integers(0, runs, (draws, runs)) if over_runs else _all(draws, runs)
        weight_runs = _weights(picked_runs, runs)
        picked = random.integers(0, families, (draws, families)) if over_families else _all(
            draws, families)  # fmt: skip
        weight_families = _weights(picked, families)
        top = np.einsum("ds,sfk,df->dk", weight_runs, sums, weight_families)
        below = np.einsum("ds,sfk,df->dk", weight_runs, counts, weight_families)
        found = statistic(top / np.maximum(below, 1e-12))
        found = found[np.isfinite(found)]
        return float(found.var(ddof=1)) if len(found) > draws // 2 else math.nan

    own = statistic(sums.sum(1) / np.maximum(counts.sum(1), 1e-12))
    whole = float(statistic((sums.sum((0, 1)) / counts.sum((0, 1)))[None])[0])
    of_items = spread(False, True) * families / max(1, families - 1)
    if runs < 2:
        return _about(whole, own, level, _effect(own, of_items, families - 1.0, families, math.nan,
                                                 of_items, level))  # fmt: skip
    of_seeds = spread(True, False) * runs / (runs - 1)
    both = max(0.0, spread(True, True) - of_seeds - of_items)
    rest = of_items if math.isnan(of_items) else max(0.0, of_items - both)
    freedom = pooled_freedom((of_seeds, rest), (runs - 1, max(1, families - 1)), level)
    found = _effect(own, of_seeds + rest, freedom, families, of_seeds, rest, level)
    return _about(whole, own, level, found)


def _all(draws: int, count: int) -> NDArray[np.int64]:
    return np.tile(np.arange(count), (draws, 1))


def _weights(picked: NDArray[np.int64], count: int) -> Array:
    """How often each one was drawn, [draws, count]."""
    draws = len(picked)
    flat = picked + np.arange(draws)[:, None] * count
    return np.bincount(flat.ravel(), minlength=draws * count).reshape(draws, count).astype(float)


def _about(whole: float, own: Array, level: float, found: Effect) -> Effect:
    """The same error about the statistic of the pooled means, which single runs may lack."""
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, found.freedom)) * found.error
    p = float(2 * t.sf(abs(whole) / found.error, found.freedom)) if found.error else found.p
    runs = tuple(float(value) for value in own)
    return replace(found, mean=whole, low=whole - half, high=whole + half, p=p, by_run=runs)
