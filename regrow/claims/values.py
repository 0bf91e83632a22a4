"""What the runs say: the outcomes of an arm's node, as means with the influence of every item."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from regrow.claims.claim import Claim, Measure, Part
from regrow.evaluate.abilities import Line, chance
from regrow.evaluate.outcomes import Outcome, read_outcomes
from regrow.files import read_jsonl


@dataclass(frozen=True, slots=True)
class Values:
    """An arm's values on a line in one run: item key to (value, family), and the chance level."""

    items: Mapping[Hashable, tuple[float, str]]
    chance: float | None

    @property
    def mean(self) -> float:
        """The mean over items."""
        return sum(value for value, _ in self.items.values()) / len(self.items)


def outcomes_of(node: Path, ability: str, metric: str) -> Sequence[Outcome]:
    """The outcomes of a measured node, read once for as long as its file stays the same."""
    path = node / "items.jsonl.gz"
    found = _read(node, path.stat().st_mtime_ns) if path.is_file() else {}
    return found.get((ability, metric), ())


@lru_cache(maxsize=256)
def _read(node: Path, _written: int) -> Mapping[tuple[str, str], Sequence[Outcome]]:
    found: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in read_outcomes(node):
        found[outcome.ability, outcome.metric].append(outcome)
    return dict(found)


def _keys(node: Path, ability: str) -> Mapping[str, str]:
    """The canonical key of each item of an ability, from the world beside a node."""
    return _read_keys(node.parent / "world" / "items" / f"{ability}.jsonl")


@lru_cache(maxsize=64)
def _read_keys(path: Path) -> Mapping[str, str]:
    return {row["id"]: row["key"] for row in read_jsonl(path)}


def values_on(node: Path, line: Line, *, twin: bool = False) -> Values | None:
    """The values of a node on a line, or of its continuous twin; None where it has none.

    An item that was asked in several templates counts by their mean.
    """
    by_item: dict[Hashable, list[float]] = defaultdict(list)
    families: dict[Hashable, str] = {}
    level = None
    keys = _keys(node, line.ability) if isinstance(line, Part) else {}
    for outcome in outcomes_of(node, line.ability, line.metric):
        if not line.holds(outcome.ability, outcome.metric, outcome.variant):
            continue
        if isinstance(line, Part) and not line.takes(keys[outcome.item]):
            continue
        value = outcome.twin if twin else outcome.value
        if value is None:
            continue
        key = outcome.identity
        by_item[key].append(value)
        families[key] = outcome.family
        if line.unit == "share" and line.best > 0 and not twin:
            level = chance(outcome.ability, outcome.metric, outcome.variant)
    if not by_item:
        return None
    return Values({k: (sum(v) / len(v), families[k]) for k, v in by_item.items()}, level)


def shared(found: Sequence[Values]) -> list[Values]:
    """The same values on the items that all have."""
    keys = set.intersection(*(set(values.items) for values in found))
    return [
        Values({key: value for key, value in values.items.items() if key in keys}, values.chance)
        for values in found
    ]


def terms_of(claim: Claim, measure: Measure) -> list[tuple[str, Line, float]]:
    """(arm, line, weight) for each term of a contrast."""
    found = []
    for term, weight in measure.terms.items():
        arm, _, name = term.partition("/")
        found.append((arm, claim.line(name or measure.line), weight))
    return found


def doubts(node: Path) -> tuple[dict[Hashable, tuple[float, str]], set[Hashable]]:
    """How likely a node finds 'I do not know' by question, and the unanswerable questions."""
    found: dict[Hashable, tuple[float, str]] = {}
    unknown: set[Hashable] = set()
    for outcome in outcomes_of(node, "not_knowing", "admitted"):
        usual = (
            outcome.variant.get("frequency", "100+") == "100+" and "asked" not in outcome.variant
        )
        if usual and outcome.twin is not None:
            found[outcome.identity] = outcome.twin, outcome.family
            if outcome.variant.get("kind") == "unknown":
                unknown.add(outcome.identity)
    return found, unknown


def placements(
    doubt: Mapping[Hashable, tuple[float, str]], unknown: set[Hashable]
) -> Values | None:
    """The area under the curve of unknown against known, as a mean over questions.

    Each question's value is its share of the other kind that it is rightly ranked against (DeLong
    1988), scaled so that the mean over all questions is the area and its error that of the area.
    """
    high = {key: value for key, (value, _) in doubt.items() if key in unknown}
    low = {key: value for key, (value, _) in doubt.items() if key not in unknown}
    if not high or not low:
        return None
    ranks = {key: _above(value, low.values()) for key, value in high.items()}
    ranks |= {key: 1 - _above(value, high.values()) for key, value in low.items()}
    area = sum(ranks[key] for key in high) / len(high)
    whole = len(doubt)
    size = {key: len(high) if key in unknown else len(low) for key in doubt}
    return Values(
        {key: (area + whole / size[key] * (ranks[key] - area), doubt[key][1]) for key in doubt}, 0.5
    )


def _above(value: float, others: Iterable[float]) -> float:
    others = list(others)
    return sum((value > other) + 0.5 * (value == other) for other in others) / len(others)
