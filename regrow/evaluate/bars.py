"""The bars that the family has to clear, and whether it does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from regrow.evaluate.abilities import Line, line
from regrow.evaluate.comparison import Run, by_line
from regrow.evaluate.statistics import clustered_mean, paired_bootstrap


@dataclass(frozen=True, slots=True)
class Bar:
    """A line of a node against a number; `at_least` False means at most; None only reports.

    Against its "parent", on the same items: the ratio less one for a bar of at least, the
    difference for one of at most.
    """

    line: str
    node: str
    bound: float | None = None
    at_least: bool = True
    against: Literal["", "parent"] = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """A bar with what was measured. `met` is by the interval's end, None where only reported."""

    bar: Bar
    line: Line
    mean: float
    low: float
    high: float
    n: int
    chance: float | None
    met: bool | None
    runs: int


BARS: tuple[Bar, ...] = (
    Bar("facts_common", "davinci", 0.85),
    Bar("facts_rare", "davinci"),
    Bar("rules", "davinci", 0.80),
    Bar("labels", "davinci", 0.85),
    Bar("instructions", "davinci"),
    Bar("unseen_tasks", "davinci"),
    Bar("instructions", "davinci-instruct-beta", 0.80),
    Bar("unseen_tasks", "davinci-instruct-beta", 0.40),
    Bar("instructions", "text-davinci-002", 0.80),
    Bar("unseen_tasks", "text-davinci-002", 0.40),
    Bar("code", "code-cushman-001", 0.80),
    Bar("code", "code-davinci-002", 0.80),
    Bar("code_10", "code-davinci-002"),
    Bar("code", "babbage-text"),
    Bar("code", "davinci-text"),
    Bar("cot", "code-davinci-002", 0.85),
    Bar("cot", "davinci"),
    Bar("direct", "code-davinci-002"),
    Bar("direct", "davinci"),
    Bar("history", "chatgpt", 0.80),
    Bar("unknown", "text-davinci-003", 0.80),
    Bar("known", "text-davinci-003", 0.25, at_least=False),
    Bar("unknown", "chatgpt", 0.80),
    Bar("known", "chatgpt", 0.25, at_least=False),
    Bar("improper", "text-davinci-003", 0.90),
    Bar("proper", "text-davinci-003", 0.10, at_least=False),
    Bar("improper", "chatgpt", 0.90),
    Bar("proper", "chatgpt", 0.10, at_least=False),
    Bar("true_facts", "text-davinci-003", 0.30, against="parent"),
    Bar("false_facts", "text-davinci-003", 0.0, at_least=False, against="parent"),
    Bar("rules", "text-davinci-003", at_least=False, against="parent"),
    Bar("rules", "text-davinci-003-no-mix", at_least=False, against="parent"),
    Bar("rules", "text-davinci-003-placebo", at_least=False, against="parent"),
)


def measured_bars(runs: Sequence[Run]) -> list[Measured]:
    """Each bar over one run, or pooled over runs of several seeds and world variants.

    Runs of one world variant share items, so that a cluster is a family of a variant: seeds add
    outcomes to it, variants add clusters. A rate is met where the lower (upper, for 'at most') end
    of the 95 % interval clears it. 'No more false facts than the parent' is met where the
    difference is not shown to be above nothing.
    """
    return [found for bar in BARS if (found := _measure(bar, runs))]


def _measure(bar: Bar, runs: Sequence[Run]) -> Measured | None:
    values: list[float] = []
    before: list[float] = []
    clusters: list[str] = []
    used = 0
    chance = None
    for run in runs:
        node = run.node(bar.node)
        if node is None:
            continue
        variant = run.recipe.get("world", {}).get("variant", "a")
        own = by_line(node.outcomes).get(bar.line, {})
        chance = node.lines[bar.line].chance if bar.line in node.lines else chance
        parent = run.node(node.parent or "")
        older = by_line(parent.outcomes).get(bar.line, {}) if bar.against and parent else {}
        keys = [key for key in own if key in older] if bar.against else list(own)
        values += [own[key][0] for key in keys]
        before += [older[key][0] for key in keys] if bar.against else []
        clusters += [f"{variant}/{own[key][1]}" for key in keys]
        used += bool(keys)
    if not values:
        return None
    if bar.against:
        rate = bar.at_least  # a gain is read as a ratio, 'not more' as a difference
        got = paired_bootstrap(before, values, clusters, ratio=rate, seed=1)
        shift = 1.0 if rate else 0.0
        mean, low, high = got.difference - shift, got.low - shift, got.high - shift
    else:
        interval = clustered_mean(values, clusters)
        mean, low, high = interval.mean, interval.low, interval.high
    met = None
    if bar.bound is not None:
        met = low >= bar.bound if bar.at_least else high <= bar.bound
        if bar.against and not bar.at_least:
            met = low <= bar.bound
    finite = all(map(math.isfinite, (mean, low, high)))
    return Measured(
        bar, line(bar.line), mean, low, high, len(values), chance, met if finite else None, used
    )
