"""A measure over the runs at hand: the effect in each world variant, and in both together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from regrow.claims.claim import Claim, Measure
from regrow.claims.values import Values, doubts, placements, shared, terms_of, values_on
from regrow.evaluate.replication import (
    Array,
    Effect,
    crossed,
    hierarchical_bootstrap,
    over_seeds,
    pooled,
)
from regrow.evaluate.trends import crossover, held_out_advantage, sharpness

#: The values of each term or arm in one run.
Run = Mapping[str, Values]


@dataclass(frozen=True)
class Evidence:
    """The nodes of a claim's arms in one run of the world: variant, seed, arm to node folder."""

    variant: str
    seed: int
    nodes: Mapping[str, Path]


@dataclass(frozen=True)
class Found:
    """A measure as it was found.

    `whole` is the mean over world variants with its interval, `by_variant` the effect in each,
    `arms` the mean of each term or arm, by label. `twin` is the effect on the continuous measure
    beside it. `able` says whether any arm rises above chance by what matters, a tenth at most; None
    where the line has no chance level. `room` is the largest effect as predicted that the arms
    leave room for; None where nothing bounds it.
    """

    measure: Measure
    whole: Effect
    by_variant: Mapping[str, Effect]
    seeds: Mapping[str, tuple[int, ...]]
    arms: Mapping[str, float]
    able: bool | None
    twin: Effect | None = None
    room: float | None = None


def find(claim: Claim, measure: Measure, evidence: Sequence[Evidence]) -> Found | None:
    """What the runs say of a measure; None where no run has all of its arms measured."""
    by_variant: dict[str, Effect] = {}
    twins: dict[str, Effect] = {}
    seeds: dict[str, tuple[int, ...]] = {}
    sides: dict[str, list[float]] = defaultdict(list)
    chances: list[float] = []
    for variant in sorted({one.variant for one in evidence}):
        runs = [one for one in evidence if one.variant == variant]
        read = [(one.seed, got) for one in runs if (got := _read(claim, measure, one.nodes))]
        if not read:
            continue
        plain = [_read(claim, measure, one.nodes, twin=True) for one in runs]
        smooth = [got for got in plain if got]
        if measure.statistic == "sharpness" and len(smooth) != len(read):
            continue  # nothing to compare with
        seeds[variant] = tuple(seed for seed, _ in read)
        for _, got in read:
            for label, values in got.items():
                sides[label].append(values.mean)
                chances += [values.chance] if values.chance is not None else []
        by_variant[variant] = _effect(claim, measure, [got for _, got in read], smooth)
        if len(smooth) == len(read) and measure.statistic in ("contrast", "slope"):
            twins[variant] = _effect(claim, measure, smooth, [])
    if not by_variant:
        return None
    means = {label: float(np.mean(values)) for label, values in sides.items()}
    able = None
    if chances and measure.statistic != "detection":
        in_scores = measure.statistic in ("contrast", "slope")  # else `matters` has other units
        above = min(measure.matters, 0.1) if in_scores else 0.1
        able = max(means.values()) >= max(chances) + above
    whole = pooled(list(by_variant.values()))
    twin = pooled(list(twins.values())) if len(twins) == len(by_variant) else None
    if measure.twin and measure.statistic == "contrast":
        beside = find(claim, _beside(measure), evidence)
        twin = beside.whole if beside else None
    return Found(measure, whole, by_variant, seeds, means, able, twin, _room(claim, measure, means))


def _room(claim: Claim, measure: Measure, means: Mapping[str, float]) -> float | None:
    """The effect if all that is predicted to rise (fall) did so to 1 (0), the other arms as found.

    Of a contrast of shares alone: a control that has .92 right leaves room for a gain of .08.
    """
    if measure.statistic != "contrast" or measure.predicted not in ("up", "down"):
        return None
    terms = terms_of(claim, measure)
    if any(line.unit != "share" for _, line, _ in terms):
        return None
    end = 1.0 if measure.predicted == "up" else 0.0
    labels = [_label(measure, arm, line.name) for arm, line, _ in terms]
    return abs(sum(weight * (end if weight > 0 else means[label])
                   for label, (*_, weight) in zip(labels, terms)))  # fmt: skip


def _beside(measure: Measure) -> Measure:
    """The same contrast of arms on the line that stands in for a twin."""
    terms: dict[str, float] = defaultdict(float)
    for term, weight in measure.terms.items():
        terms[term.partition("/")[0]] += weight
    return measure.model_copy(update={"line": measure.twin, "terms": dict(terms), "twin": ""})


def _read(
    claim: Claim, measure: Measure, nodes: Mapping[str, Path], *, twin: bool = False
) -> dict[str, Values] | None:
    """The values of each term or placed arm in one run; None where one is missing."""
    found: dict[str, Values] = {}
    if measure.statistic == "detection":
        for arm in measure.terms:
            got = placements(*doubts(nodes[arm])) if arm in nodes else None
            if got is None:
                return None
            found[arm] = got
        return found
    terms = terms_of(claim, measure) or [
        (arm, claim.line(name), 0.0) for arm, name in _of_curve(claim, measure)
    ]
    by_line: dict[str, list[str]] = defaultdict(list)
    for arm, line, _ in terms:
        label = _label(measure, arm, line.name)
        got = values_on(nodes[arm], line, twin=twin) if arm in nodes else None
        if got is None:
            return None
        found[label] = got
        by_line[line.name].append(label)
    for labels in by_line.values():  # the same items in all arms
        for label, got in zip(labels, shared([found[label] for label in labels])):
            if not got.items:
                return None
            found[label] = got
    return found


def _of_curve(claim: Claim, measure: Measure) -> list[tuple[str, str]]:
    """(arm, line) of all that a curve over x is made of."""
    placed = _placed(claim)
    found = [(arm, measure.line) for arm in placed]
    for one in measure.taken_off:
        fixed, _, name = one.rpartition("/")
        found += [(arm, name) for arm in ([fixed] if fixed else placed)]
    return found


def _label(measure: Measure, arm: str, line: str) -> str:
    """An arm's name on the measure's own line, `arm/line` on another."""
    return arm if line == measure.line else f"{arm}/{line}"


def _off(measure: Measure, arm: str, against: str) -> str:
    """The label of what is taken off an arm: its own on a line, or a fixed arm's."""
    fixed, _, line = against.rpartition("/")
    return _label(measure, fixed or arm, line)


def _placed(claim: Claim) -> list[str]:
    """Arms with an x, in its order."""
    placed = {name: arm.x for name, arm in claim.arms.items() if arm.x is not None}
    return sorted(placed, key=lambda name: placed[name])


def _effect(claim: Claim, measure: Measure, runs: Sequence[Run], smooth: Sequence[Run]) -> Effect:
    """The effect over the runs of one variant; `smooth` are the same runs on the twin."""
    if measure.statistic == "detection":
        return _linear([measure.terms] * len(runs), runs)
    if measure.statistic == "contrast":
        weights = dict(zip(runs[0], (weight for *_, weight in terms_of(claim, measure))))
        return _linear([weights] * len(runs), runs)
    names = _placed(claim)
    x = [claim.arms[name].x or 1.0 for name in names]
    if measure.statistic == "slope":
        z = np.log2(x) - np.log2(x).mean()
        weights = {}
        for name, weight in zip(names, (z / float(z @ z)).tolist()):
            weights[name] = weight
            if measure.against:
                off = _off(measure, name, measure.against)
                weights[off] = weights.get(off, 0.0) - weight
        return _linear([weights] * len(runs), runs)
    if measure.statistic == "crossover":
        return _crossing(measure, x, names, runs)
    curves = [_curve(measure, names, run) for run in runs]
    if measure.statistic == "breakpoint":
        return over_seeds([held_out_advantage(x, curve) for curve in curves])
    smooth_curves = [_curve(measure, names, run) for run in smooth]
    return over_seeds([sharpness(a) - sharpness(b) for a, b in zip(curves, smooth_curves)])


def _curve(measure: Measure, names: Sequence[str], run: Run) -> list[float]:
    """The means along the arms, less those of the line that is taken off."""
    less = {
        n: run[_off(measure, n, measure.against)].mean if measure.against else 0.0 for n in names
    }
    return [run[name].mean - less[name] for name in names]


def _crossing(
    measure: Measure, x: Sequence[float], names: Sequence[str], runs: Sequence[Run]
) -> Effect:
    """Where the curve first rises through zero, in log2 x, by a hierarchical bootstrap.

    NaN where the pooled curve never does. Of two crossings the second may lie beyond the ladder: it
    counts as one doubling past the largest x, for what is known is that it is later than that. So
    is a single run drawn that never crosses.
    """
    labels = list(runs[0])
    families = sorted({family for run in runs for one in run.values()
                       for _, family in one.items.values()})  # fmt: skip
    place = {family: index for index, family in enumerate(families)}
    sums = np.zeros((len(runs), len(families), len(labels)))
    counts = np.zeros_like(sums)
    for s, run in enumerate(runs):
        for k, label in enumerate(labels):
            for value, family in run[label].items.values():
                sums[s, place[family], k] += value
                counts[s, place[family], k] += 1
    beyond = math.log2(max(x)) + 1

    def crossed_at(means: Array, against: str) -> Array:
        places = [labels.index(name) for name in names]
        off = [labels.index(_off(measure, name, against)) for name in names if against]
        return crossover(x, means[:, places] - (means[:, off] if off else 0.0))

    def statistic(means: Array) -> Array:
        found = crossed_at(means, measure.against)
        if not measure.before:
            return found
        later = np.where(np.isnan(found), beyond, found)
        return later - crossed_at(means, measure.before)

    found = hierarchical_bootstrap(sums, counts, statistic)
    if measure.before:
        return found
    by_run = tuple(value if math.isfinite(value) else beyond for value in found.by_run)
    return replace(found, by_run=by_run)


def _linear(weights: Sequence[Mapping[str, float]], runs: Sequence[Run]) -> Effect:
    """A weighted sum of means over items, with items clustered by family and runs crossed.

    An item's pseudo-value is the effect plus N times its influence on it.
    """
    influences: list[dict[Hashable, float]] = []
    effects: list[float] = []
    families: dict[Hashable, str] = {}
    for weight, run in zip(weights, runs):
        influence: dict[Hashable, float] = defaultdict(float)
        effect = 0.0
        for label, values in run.items():
            mean, count = values.mean, len(values.items)
            effect += weight[label] * mean
            for key, (value, family) in values.items.items():
                influence[key] += weight[label] * (value - mean) / count
                families[key] = family
        influences.append(influence)
        effects.append(effect)
    keys = list(families)
    table: Array = np.array([[one.get(key, 0.0) for key in keys] for one in influences])
    pseudo: Array = np.array(effects)[:, None] + len(keys) * table
    return crossed(pseudo, [families[key] for key in keys])
