"""Outcomes of single items, and the scores that are made of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from regrow.evaluate.abilities import ABILITIES, COUNTS, LINES, Line, chance
from regrow.evaluate.metrics import GRADED, calibration_bins, expected_gap
from regrow.evaluate.statistics import clustered_mean
from regrow.files import read_json, read_jsonl


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one node did on one item in one variant, by one metric.

    `twin` is the continuous measure beside it, None where there is none. `output` is what the node
    wrote, shortened. `confidence` is the probability that it gave to this answer, None where that
    is not of the whole answer. `chance` is what guessing gives where no ability of the registry
    says so.
    """

    ability: str
    item: str
    family: str
    variant: Mapping[str, str]
    metric: str
    value: float
    twin: float | None = None
    asked: str = "plain"
    template: str = ""
    output: str = ""
    confidence: float | None = None
    chance: float | None = None

    @property
    def identity(self) -> tuple[str, tuple[tuple[str, str], ...], str]:
        """What must be equal for outcomes of two nodes to be a pair."""
        return self.item, tuple(sorted(self.variant.items())), self.metric

    def to_row(self) -> dict[str, Any]:
        """A row of JSON."""
        return asdict(self)

    @staticmethod
    def from_row(row: Mapping[str, Any]) -> Outcome:
        """From a row of items.jsonl.gz; keys it does not know are left out."""
        return Outcome(**{name: row[name] for name in Outcome.__slots__ if name in row})


@dataclass(frozen=True, slots=True)
class Score:
    """A metric over the items of one variant of an ability, with its 95 % interval.

    The interval is clustered by item family. `twin` is the mean of the continuous measure.
    `templates` are the means by prompt template, `spread` their standard deviation (it holds the
    noise of items too, where items are dealt over the templates). `calibration` are bins of
    [confidence, share right, items] and `calibration_error` the mean gap over them, where the node
    gave its answers a probability.
    """

    node: str
    ability: str
    variant: Mapping[str, str]
    n: int
    score: float
    low: float
    high: float
    chance: float | None
    seed: int
    metric: str
    clusters: int = 0
    asked: str = "plain"
    twin: float | None = None
    templates: Mapping[str, float] = field(default_factory=dict)
    spread: float | None = None
    line: str = ""
    calibration_error: float | None = None
    calibration: Sequence[Sequence[float]] = ()

    def to_row(self) -> dict[str, Any]:
        """A row of JSON."""
        return asdict(self)

    @staticmethod
    def from_row(row: Mapping[str, Any]) -> Score:
        """From a row of scores.json; keys it does not know are left out."""
        return Score(**{name: row[name] for name in Score.__slots__ if name in row})


def score(
    node: str,
    outcomes: Sequence[Outcome],
    variant: Mapping[str, str],
    seed: int,
    line: Line | None = None,
) -> Score:
    """The score of outcomes of one ability and metric."""
    first = outcomes[0]
    values, families = [o.value for o in outcomes], [o.family for o in outcomes]
    proportion = first.metric not in COUNTS | GRADED
    interval = clustered_mean(values, families, proportion=proportion)
    twins = [o.twin for o in outcomes if o.twin is not None and math.isfinite(o.twin)]
    by_template: dict[str, list[float]] = defaultdict(list)
    for outcome in outcomes:
        by_template[outcome.template].append(outcome.value)
    means = {name: sum(v) / len(v) for name, v in sorted(by_template.items()) if name}
    spread = None
    if len(means) > 1:
        centre = sum(means.values()) / len(means)
        spread = math.sqrt(sum((m - centre) ** 2 for m in means.values()) / (len(means) - 1))
    levels = [_level(o) for o in outcomes]
    guessed = levels[0]
    if len(set(levels)) > 1:  # items with more choices and with fewer
        guessed = sum(level or 0.0 for level in levels) / len(levels)
    sure = [o for o in outcomes if o.confidence is not None]
    bins = calibration_bins([o.confidence or 0.0 for o in sure], [o.value for o in sure])
    return Score(
        node, first.ability, dict(variant), interval.n, interval.mean, interval.low, interval.high,
        guessed, seed, first.metric, interval.clusters,
        first.asked, sum(twins) / len(twins) if twins else None, means, spread,
        line.name if line else "", expected_gap(bins) if bins else None, bins,
    )  # fmt: skip


def _level(outcome: Outcome) -> float | None:
    """What guessing gives on an item."""
    if outcome.chance is not None:
        return outcome.chance
    return chance(outcome.ability, outcome.metric, outcome.variant)


def scores(
    node: str, outcomes: Iterable[Outcome], seed: int, lines: Sequence[Line] = LINES
) -> list[Score]:
    """The scores of all cells, then of the lines of the report that pool several cells.

    A cell that is itself a whole line carries that line's name.
    """
    outcomes = list(outcomes)
    cells: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        for variant in groups(outcome):
            cells[outcome.ability, outcome.metric, variant].append(outcome)
    found = {key: score(node, members, dict(key[2]), seed) for key, members in cells.items()}
    pooled = []
    for line in lines:
        members = [o for o in outcomes if line.holds(o.ability, o.metric, o.variant)]
        whole = [
            key for key, cell in cells.items() if len(cell) == len(members) and cell == members
        ]
        if whole:
            found[whole[0]] = replace(found[whole[0]], line=line.name)
        elif members:
            pooled.append(score(node, members, line.variant, seed, line))
    return [*found.values(), *pooled]


def groups(outcome: Outcome) -> list[tuple[tuple[str, str], ...]]:
    """The variants in which an outcome counts: its whole split, or the groups of its ability."""
    known = ABILITIES.get(outcome.ability)
    by = (known.by if known else ()) or (tuple(outcome.variant),)
    chosen = [
        tuple(sorted((k, v) for k, v in outcome.variant.items() if k in keys or k == "asked"))
        for keys in by
        if all(key in outcome.variant for key in keys)
    ]
    return list(dict.fromkeys(chosen))


def read_scores(node_folder: Path) -> list[Score]:
    """The scores of a measured node; empty where it has not been measured."""
    path = node_folder / "scores.json"
    if not path.exists():
        return []
    return [Score.from_row(row) for row in read_json(path)]


def read_measuring(node_folder: Path) -> dict[str, Any]:
    """How a node was asked; empty where it has not been measured."""
    path = node_folder / "measuring.json"
    return dict(read_json(path)) if path.exists() else {}


def read_outcomes(node_folder: Path) -> list[Outcome]:
    """The outcomes of single items; empty where the node has not been measured."""
    path = node_folder / "items.jsonl.gz"
    return [Outcome.from_row(row) for row in read_jsonl(path)] if path.exists() else []
