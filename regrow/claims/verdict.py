"""From effects to a verdict: one rule for all claims, written before any run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from regrow.claims.claim import Claim, Measure
from regrow.claims.effects import Evidence, Found, find
from regrow.evaluate.replication import Effect

Word = Literal["supported", "refuted", "undecided"]
#: Seeds in one world variant without which no verdict is given.
SEEDS = 5
#: Seeds in the other variant, whose effect has to agree.
SECOND = 3
#: What is said of an effect that there is none of, and what would change it.
NOWHERE = "the curve crosses nowhere among these sizes"
FEW = "too few runs cross for an interval"
DIVERGED = "an arm has values that are no numbers: its training diverged"
NONE = {NOWHERE: "larger arms", FEW: "more runs, or larger arms",
        DIVERGED: "arms whose training does not diverge"}  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """What one measure says by itself, and why."""

    measure: Measure
    found: Found | None
    word: Word
    why: str


@dataclass(frozen=True)
class Verdict:
    """A claim's verdict with all readings. `leans` is what the intervals alone would say."""

    claim: Claim
    word: Word
    leans: Word
    why: tuple[str, ...]
    readings: tuple[Reading, ...]
    evidence: tuple[Evidence, ...]

    @property
    def seeds(self) -> dict[str, int]:
        """Runs by world variant."""
        found: dict[str, int] = {}
        for one in self.evidence:
            found[one.variant] = found.get(one.variant, 0) + 1
        return dict(sorted(found.items()))


def judge(claim: Claim, evidence: Sequence[Evidence]) -> Verdict:
    """The verdict of a claim.

    A measure is read by its interval (`read`). All measures supported: supported; one refuted:
    refuted; else undecided. Whatever they say, it is undecided with fewer than five seeds in a
    world variant, or unless three seeds in the other variant agree. Runs whose arms ended as the
    same weights (a guard that had no spike to guard against) do not count: what is named was not
    tried in them.
    """
    grown, evidence = evidence, [one for one in evidence if not _same(one)]
    readings = []
    for measure in claim.measures:
        found = find(claim, measure, evidence)
        if found and not math.isfinite(found.whole.error + found.whole.mean):
            readings.append(Reading(measure, None, "undecided", _none(measure, found.whole)))
            continue
        word, why = read(measure, found) if found else ("undecided", "not measured yet")
        readings.append(Reading(measure, found, word, why))
    words = [reading.word for reading in readings]
    leans: Word = "undecided"
    if "refuted" in words:
        leans = "refuted"
    elif set(words) == {"supported"}:
        leans = "supported"
    missing = _missing(readings)
    reasons = missing or tuple(f"{reading.measure.name}: {reading.why}" for reading in readings)
    if untried := len(grown) - len(evidence):
        reasons += (
            f"{untried} of {len(grown)} runs do not count: their arms are the same weights",
        )
    final: Word = "undecided" if missing else leans
    return Verdict(claim, final, leans, reasons, tuple(readings), tuple(evidence))


def _same(one: Evidence) -> bool:
    """Whether all arms of a run, two or more nodes, have the same weights."""
    from regrow.tree.edge import weights_of

    folders = set(one.nodes.values())
    found = {weights_of(folder) for folder in folders}
    return len(folders) > 1 and len(found) == 1 and None not in found


def _none(measure: Measure, effect: Effect) -> str:
    """Why an effect is no number."""
    if measure.statistic != "crossover":
        return DIVERGED
    return FEW if math.isfinite(effect.mean) else NOWHERE


def read(measure: Measure, found: Found) -> tuple[Word, str]:
    """What the interval of a measure says against its prediction.

    `up` (and `down`, with the sign turned): supported where the 95 % interval lies above zero and
    the effect is at least what matters; refuted where the interval lies below what matters.
    `not_down`: supported where it lies above minus what matters, refuted where below it. `none`:
    supported where the 90 % interval lies within +- what matters (two one-sided tests), refuted
    where the 95 % interval lies outside. Arms that all lack the ability refute nothing, nor does a
    control that is so good that the others have no room for what matters, unless they are worse.
    """
    effect, matters = found.whole, measure.matters
    sign = -1 if measure.predicted in ("down", "not_up") else 1
    low, high = sorted((sign * effect.low, sign * effect.high))
    mean = sign * effect.mean
    word: Word = "undecided"
    why = f"the interval holds both no effect and one that matters ({matters:g})"
    if measure.predicted in ("up", "down"):
        if low > 0 and mean >= matters:
            word, why = "supported", "the interval lies on the predicted side, the effect matters"
        elif high < matters:
            word, why = (
                "refuted",
                f"an effect of {matters:g} as predicted lies outside the interval",
            )
        elif low > 0:
            why = f"there is an effect; whether it reaches {matters:g} is open"
    elif measure.predicted == "none":
        inner = _equivalent(effect, matters)
        if inner:
            word, why = "supported", f"within +-{matters:g} by two one-sided tests"
        elif low > matters or high < -matters:
            word, why = "refuted", f"beyond +-{matters:g}"
    elif low > -matters:
        word, why = "supported", f"no change for the worse of {matters:g}"
    elif high < -matters:
        word, why = "refuted", f"a change for the worse beyond {matters:g}"
    moved = word == "supported" and measure.predicted in ("up", "down")
    if found.able is False and not moved and not measure.absent_is_fine:
        return "undecided", "no arm has the ability, so nothing can be said of it"
    if word == "refuted" and high >= 0 and found.room is not None and found.room < matters:
        return "undecided", f"there is no room for {matters:g}: at most {found.room:.2g} is left"
    return word, why


def _equivalent(effect: Effect, matters: float) -> bool:
    from regrow.evaluate.statistics import tost

    return tost(effect.mean, effect.error, effect.freedom, matters) < 0.05


def _missing(readings: Sequence[Reading]) -> tuple[str, ...]:
    """Why the rule gives no verdict yet; empty where it does."""
    said: dict[str, None] = {}
    for reading in readings:
        if reading.found is None:
            said[f"{reading.measure.name}: {reading.why}" if reading.why in NONE else
                 "not all arms are grown and measured"] = None  # fmt: skip
            continue
        counts = {variant: len(seeds) for variant, seeds in reading.found.seeds.items()}
        most = max(counts.values())
        if most < SEEDS:
            said[f"{most} of {SEEDS} seeds"] = None
        others = sorted(counts.values())[:-1]
        if not others:
            said["the world's second variant has not been tried"] = None
        elif max(others) < SECOND:
            said[f"{max(others)} of {SECOND} seeds in the second variant"] = None
        elif not _agree(reading):
            said[f"{reading.measure.name}: the two variants disagree"] = None
    return tuple(said)


def _agree(reading: Reading) -> bool:
    """Whether each world variant by itself has its effect on the side that the verdict says."""
    assert reading.found is not None
    measure, matters = reading.measure, reading.measure.matters
    sign = -1 if measure.predicted in ("down", "not_up") else 1
    means = [sign * effect.mean for effect in reading.found.by_variant.values()]
    if reading.word == "undecided":
        return True
    held = reading.word == "supported"
    if measure.predicted == "none":
        return all((abs(mean) < matters) == held for mean in means)
    if measure.predicted in ("up", "down"):
        return all(mean > 0 if held else mean < matters for mean in means)
    return all((mean > -matters) == held for mean in means)


def would_change(reading: Reading) -> str:
    """What would settle a measure that is open, or undo one that is not, in words."""
    if reading.found is None:
        return NONE.get(reading.why, "growing and measuring its arms")
    effect, matters = reading.found.whole, reading.measure.matters
    if reading.word != "undecided":
        return "runs that move the interval back across the line that it cleared"
    if effect.detectable() <= matters:
        return "an interval that moves across the line above; its width is small enough"
    needed = effect.seeds_for(matters)
    if len(effect.by_run) < 2:
        return "more seeds: with one, nothing is known of their spread"
    if needed is None:
        return (
            "more items or more item families: seeds alone cannot make the interval narrow enough"
        )
    return f"about {needed} seeds in all, at the spread seen so far"
