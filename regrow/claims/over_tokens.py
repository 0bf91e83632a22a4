"""The curve of a claim over tokens: its arms at the shares of their stage where they were kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from regrow.claims.claim import Claim, Part
from regrow.claims.effects import Evidence
from regrow.claims.values import values_on
from regrow.claims.verdict import Reading
from regrow.evaluate.abilities import Line
from regrow.evaluate.passage import kept_at
from regrow.page.charts import Series, line_chart
from regrow.tree.edge import read_edge


@dataclass(frozen=True)
class Point:
    """The mean of an arm over runs after so many tokens of its stage."""

    tokens: float
    mean: float
    runs: int


def points(nodes: Sequence[Path], line: Line) -> list[Point]:
    """A line over the tokens of a stage, on one arm's nodes: where they were kept, and at the end.

    Only places that all runs have; empty where there is none before the end.
    """
    found: dict[float, list[float]] = defaultdict(list)
    for node in nodes:
        edge = read_edge(node)
        tokens = float(edge.inputs.get("tokens", 0)) if edge else 0.0
        for share, folder in [*kept_at(node), (1.0, node)]:
            values = values_on(folder, line)
            if values is not None:
                found[share * tokens].append(values.mean)
    whole = [Point(tokens, sum(got) / len(got), len(got))
             for tokens, got in sorted(found.items()) if len(got) == len(nodes)]  # fmt: skip
    return whole if len(whole) > 1 else []


def over_tokens(claim: Claim, reading: Reading, evidence: Sequence[Evidence]) -> str:
    """A chart with a curve for each arm (and line) of a measure; empty where nothing was kept."""
    if reading.found is None or reading.measure.statistic == "detection":
        return ""
    series: list[Series] = []
    for label in reading.found.arms:
        arm, _, name = label.partition("/")
        line = claim.line(name or reading.measure.line)
        if isinstance(line, Part):
            continue
        runs = [one.nodes[arm] for one in evidence if arm in one.nodes]
        if curve := points(runs, line):
            series.append(
                Series(
                    label,
                    [(point.tokens / 1e6, point.mean) for point in curve],
                    tips=[f"{label}: {p.mean:.3f} after {p.tokens / 1e6:.2f}M tokens, {p.runs} runs"
                          for p in curve],
                )
            )  # fmt: skip
    if not series:
        return ""
    css = {one.name: f"c-{number % 10}" for number, one in enumerate(series)}
    chart = line_chart(series, css, title="over tokens of the stage", x_title="million tokens")
    names = ", ".join(escape(one.name) for one in series)
    return f"{chart}<small>over tokens: {names}; a circle says which and how much</small>"
