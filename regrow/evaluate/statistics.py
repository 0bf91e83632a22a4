"""Intervals, paired comparisons and pass@k, clustered by item family.

Items of one family share wording and skill, so they are not independent. On real outputs of
code-davinci-002 the clustered error of a difference was six times the naive one; every interval
here is therefore clustered. Effects over several runs: `replication`; curves over sizes: `trends`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from regrow.seeds import rng


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval (or another level), in the units of the values."""

    mean: float
    low: float
    high: float
    n: int
    clusters: int
    error: float  # standard error, clustered
    freedom: float  # degrees of freedom of the error

    def detectable(self, power: float = 0.8, level: float = 0.95) -> float:
        """The smallest true effect that a test at this error would find with this power."""
        return detectable(self.error, self.freedom, power, level)


@dataclass(frozen=True, slots=True)
class Paired:
    """A difference b - a on the same items, its interval and two-sided p value."""

    difference: float
    low: float
    high: float
    p: float
    n: int
    clusters: int
    error: float = math.nan
    freedom: float = math.nan


def detectable(error: float, freedom: float, power: float = 0.8, level: float = 0.95) -> float:
    """The smallest true effect that a two-sided t test at this error finds with this power."""
    from scipy.stats import t

    freedom = max(1.0, freedom)
    return float((t.ppf((1 + level) / 2, freedom) + t.ppf(power, freedom)) * error)


def tost(effect: float, error: float, freedom: float, margin: float) -> float:
    """The p value that an effect lies within +- `margin`: the larger of two one-sided t tests
    (Schuirmann 1987). Below .05 where the 90 % interval lies inside.
    """
    from scipy.stats import t

    if error == 0:
        return 0.0 if abs(effect) < margin else 1.0
    return float(max(t.sf((effect + margin) / error, freedom),
                     t.cdf((effect - margin) / error, freedom)))  # fmt: skip


def wilson(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a plain proportion (Wilson 1927). `n` may be an effective size."""
    from scipy.stats import norm

    return _wilson(successes / n, n, float(norm.ppf((1 + level) / 2))) if n else (0.0, 1.0)


def _wilson(share: float, n: float, quantile: float) -> tuple[float, float]:
    square = quantile * quantile
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = quantile / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def labels_of(clusters: Sequence[Hashable]) -> tuple[np.ndarray, int]:
    """A number for each item's cluster, and how many clusters there are.

    With a single cluster nothing is known between clusters: items are then taken as their own.
    """
    names = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    if len(names) < 2:
        return np.arange(len(clusters)), len(clusters)
    labels = np.fromiter((names[name] for name in clusters), dtype=np.int64, count=len(clusters))
    return labels, len(names)


def clustered_error(
    values: Sequence[float], clusters: Sequence[Hashable]
) -> tuple[float, float, int]:
    """The standard error of a mean of correlated items, its degrees of freedom, the cluster count.

    `se^2 = sum_g s_g^2 / (1 - n_g/n) / n^2` with s_g the sum of a cluster's deviations: CR2 of
    Bell and McCaffrey (2002) for a mean, the usual G/(G-1) where clusters are of one size. Degrees
    of freedom by Satterthwaite, under the correlation within clusters that the values show (Imbens
    and Kolesar 2016): clusters of unequal size are worth fewer than G - 1. Where clusters that
    differ inside agree in their means to the last digit, items are taken as their own.
    """
    x = np.asarray(values, dtype=np.float64)
    labels, count = labels_of(clusters)
    if count < 2:
        return 0.0, 1.0, count
    sizes = np.bincount(labels, minlength=count)
    share = sizes / len(x)
    away = x - x.mean()
    sums = np.bincount(labels, weights=away, minlength=count)
    error = math.sqrt(float((sums**2 / (1 - share)).sum())) / len(x)
    if error < 1e-12 and np.ptp(x) > 0 and count < len(x):
        return clustered_error(values, range(len(x)))
    return error, _freedom(sizes, _correlation(away, sums, sizes)), count


def _correlation(away: np.ndarray, sums: np.ndarray, sizes: np.ndarray) -> float:
    """The intraclass correlation by analysis of variance, within [0, 1]."""
    n, count = len(away), len(sizes)
    if n == count:
        return 0.0
    among = float((sums**2 / sizes).sum())
    between = among / (count - 1)
    within = max(0.0, float(away @ away) - among) / (n - count)
    typical = (n - float((sizes**2).sum()) / n) / (count - 1)
    whole = between + (typical - 1) * within
    return min(1.0, max(0.0, (between - within) / whole)) if whole > 0 else 0.0


def _freedom(sizes: np.ndarray, correlation: float) -> float:
    """Satterthwaite's degrees of freedom of the CR2 error of a mean, `tr(AV)^2 / tr(AVAV)`.

    A is the quadratic form in the clusters' sums, `diag(c) - q 1' - 1 q' + k`, V their variance;
    written out, both traces are sums over clusters.
    """
    share = sizes / sizes.sum()
    c = 1 / (1 - share)
    q = c * share
    k = float(share @ q)
    v = sizes * (1 + (sizes - 1) * correlation)
    trace = float(v @ (c - 2 * q + k))
    whole, first, second = float(v.sum()), float(v @ q), float(v @ (q * q))
    square = k * k * whole**2 + 2 * second * whole - 4 * k * first * whole + 2 * first**2
    square += float((v * v) @ ((c + k - 2 * q) ** 2 - (k - 2 * q) ** 2))
    return max(1.0, trace**2 / square)


def clustered_mean(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    level: float = 0.95,
    proportion: bool = True,
) -> Interval:
    """The mean with a clustered t interval.

    Values of a `proportion` that are all 0 or 1 get Wilson's interval at the effective sample size
    `mean (1 - mean) / error^2` with the t quantile (Korn and Graubard 1998; Dean and Pagano 2015),
    which stays inside [0, 1] and open at 0 and 1.
    """
    from scipy.stats import t

    n = len(values)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0, 0, math.nan, math.nan)
    mean = float(np.mean(values))
    error, freedom, count = clustered_error(values, clusters)
    quantile = float(t.ppf((1 + level) / 2, freedom))
    if proportion and all(value in (0, 1) for value in values):
        if error < 1e-12:  # all alike: no sign of clustering
            return Interval(mean, *wilson(mean * n, n, level), n, count, error, freedom)
        low, high = _wilson(mean, mean * (1 - mean) / error**2, quantile)
        return Interval(mean, low, high, n, count, error, freedom)
    half = quantile * error
    return Interval(mean, mean - half, mean + half, n, count, error, freedom)


def paired_difference(
    a: Sequence[float], b: Sequence[float], clusters: Sequence[Hashable], level: float = 0.95
) -> Paired:
    """Mean of b - a over the same items with a clustered t interval and t test.

    Where every difference is the same the t test has no error to use: p is then the sign test's,
    over clusters.
    """
    from scipy.stats import t

    differences = np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)
    if len(differences) == 0:
        return Paired(math.nan, math.nan, math.nan, 1.0, 0, 0)
    mean = float(differences.mean())
    error, freedom, count = clustered_error(differences.tolist(), clusters)
    if np.ptp(differences) == 0:
        p = 1.0 if mean == 0 else min(1.0, 2 * 0.5**count)
        return Paired(mean, mean, mean, p, len(differences), count, 0.0, freedom)
    half = float(t.ppf((1 + level) / 2, freedom)) * error
    p = float(2 * t.sf(abs(mean) / error, freedom))
    return Paired(mean, mean - half, mean + half, p, len(differences), count, error, freedom)


def paired_bootstrap(
    a: Sequence[float],
    b: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    ratio: bool = False,
) -> Paired:
    """The difference b - a (or mean b / mean a) with whole clusters resampled; percentile interval.

    The p value is twice the smaller share of draws on either side of no effect (0, or 1 for a
    ratio), with one added to both counts so that it is never 0.
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    labels, count = labels_of(clusters)
    sums = np.stack([np.bincount(labels, weights=w, minlength=count) for w in (x, y)])
    sizes = np.bincount(labels, minlength=count)
    picks = rng("bootstrap", seed, len(x)).integers(0, count, size=(draws, count))
    drawn_a, drawn_b, drawn_n = sums[0][picks].sum(1), sums[1][picks].sum(1), sizes[picks].sum(1)
    if ratio:
        effect = float(y.mean() / x.mean()) if x.mean() else math.inf
        drawn = drawn_b / np.maximum(drawn_a, 1e-12)
        nothing = 1.0
    else:
        effect = float(y.mean() - x.mean())
        drawn = (drawn_b - drawn_a) / drawn_n
        nothing = 0.0
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    side = min(int((drawn <= nothing).sum()), int((drawn >= nothing).sum()))
    p = min(1.0, 2 * (side + 1) / (draws + 1))
    return Paired(effect, float(low), float(high), p, len(x), count)


def mcnemar_exact(a: Sequence[float], b: Sequence[float]) -> float:
    """The exact two-sided p value that b differs from a on paired 0/1 outcomes (McNemar 1947)."""
    from scipy.stats import binomtest

    gained = sum(1 for x, y in zip(a, b, strict=True) if y > x)
    lost = sum(1 for x, y in zip(a, b, strict=True) if y < x)
    return float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values that hold the family-wise error over a grid of tests (Holm 1979).

    A p value that is NaN is of no test: it is not counted, and adjusted to 1.
    """
    made = [index for index, p in enumerate(p_values) if not math.isnan(p)]
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(made, key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, p_values[index] * (len(made) - rank)))
        adjusted[index] = highest
    return adjusted


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """The unbiased chance that one of k samples passes, `1 - C(n-c, k) / C(n, k)` (Chen 2021)."""
    if k > samples:
        raise ValueError(f"pass@{k} needs at least {k} samples, got {samples}")
    return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)


def risk_coverage(confidence: Sequence[float], wrong: Sequence[float]) -> list[tuple[float, float]]:
    """Points (share answered, share wrong among those) as the answers grow less confident.

    Ties in confidence are answered together (El-Yaniv and Wiener 2010).
    """
    pairs = sorted(zip(confidence, wrong, strict=True), key=lambda pair: -pair[0])
    points, errors = [], 0.0
    for index, (value, mistake) in enumerate(pairs):
        errors += mistake
        if index + 1 == len(pairs) or pairs[index + 1][0] != value:
            points.append(((index + 1) / len(pairs), errors / (index + 1)))
    return points


def area_under_roc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The chance that a positive outranks a negative, ties counted half (Mann and Whitney 1947)."""
    from scipy.stats import rankdata

    if not positive or not negative:
        return math.nan
    ranks = rankdata([*positive, *negative])
    high, low = len(positive), len(negative)
    return float((ranks[:high].sum() - high * (high + 1) / 2) / (high * low))
