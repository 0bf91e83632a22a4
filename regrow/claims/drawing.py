"""Drawings of a measure: its interval with a circle for every run, and its curve over x."""

from __future__ import annotations

import math
from html import escape

from regrow.claims.claim import Claim
from regrow.claims.verdict import Reading
from regrow.page.charts import Series, line_chart, number, rule, short, text, ticks


def dots(reading: Reading, width: int = 760, names: bool = True) -> str:
    """The effect in each world variant and in both, as intervals with a circle for every run."""
    found = reading.found
    if found is None:
        return ""
    left, right, step, top = (92 if names else 6), 14, 26, 8
    rows = [(f"world {name}", effect, "interval") for name, effect in found.by_variant.items()]
    if len(rows) > 1 or not names:
        rows = [*(rows if names else []), ("both" if names else "", found.whole, "whole")]
    marks = _marks(reading)
    ends = [value for _, effect, _ in rows for value in (effect.low, effect.high, *effect.by_run)]
    whole = [*filter(math.isfinite, ends), 0.0, *marks]
    low, high = min(whole), max(whole)
    low, high = low - 0.04 * (high - low or 1), high + 0.04 * (high - low or 1)
    height = top + step * len(rows) + 20

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - right)

    base = top + step * len(rows)
    title = f"{reading.measure.name}: effect and runs"
    parts = [f'<svg class="dots" viewBox="0 0 {width} {height}" role="img" '
             f'aria-label="{escape(title)}">']  # fmt: skip
    for value in ticks(low, high, 7):
        parts.append(rule("rail", at(value), at(value), top, base))
        parts.append(text(at(value), base + 14, short(value), "tick", "middle"))
    parts.append(rule("nothing", at(0), at(0), top - 4, base + 2))
    parts += [rule("matters", at(mark), at(mark), top - 4, base + 2) for mark in marks]
    for index, (name, effect, css) in enumerate(rows):
        y = top + step * (index + 0.5)
        if names:
            parts.append(text(0, y + 4, name, "tick"))
        if not math.isfinite(effect.low):
            continue
        parts.append(rule(css, at(effect.low), at(effect.high), y, y))
        parts.append(
            f'<circle class="mean" cx="{number(at(effect.mean))}" cy="{number(y)}" r="4"/>'
        )
        for run, value in enumerate(effect.by_run):
            if not math.isfinite(value):
                continue  # it crosses nowhere
            tip = f"run {run + 1}: {value:+.3f}"
            parts.append(f'<circle class="seed c-{run % 10}" cx="{number(at(value))}" '
                         f'cy="{number(y - 7)}" r="3" data-tip="{escape(tip)}"/>')  # fmt: skip
    return "".join(parts) + "</svg>"


def _marks(reading: Reading) -> list[float]:
    """Where an effect begins to matter."""
    matters = reading.measure.matters
    return {"up": [matters], "not_down": [-matters], "down": [-matters], "not_up": [matters],
            "none": [-matters, matters]}[reading.measure.predicted]  # fmt: skip


def curve(claim: Claim, reading: Reading) -> str:
    """The means of the arms over their x, where they have one; with the line that is taken off."""
    found, measure = reading.found, reading.measure
    placed = sorted((arm.x, name) for name, arm in claim.arms.items() if arm.x is not None)
    if found is None or measure.terms or not placed:
        return ""
    series, css = [], {}
    for number_, one in enumerate((measure.line, *measure.taken_off)):
        fixed, _, line = one.rpartition("/")
        end = "" if line == measure.line else f"/{line}"
        points = [(x, found.arms[(fixed or name) + end]) for x, name in placed]
        title = claim.line(line).title + (f", {fixed}" if fixed else "")
        series.append(Series(title, points, tips=[f"{title}: {y:.3f} at {x:g}" for x, y in points]))
        css[title] = f"c-{number_}"
    titles = " and ".join(one.name for one in series)
    return line_chart(series, css, title=titles, x_title="x of the arms", log_x=True)


def scale(reading: Reading) -> str:
    """What the marks in a drawing mean, in a line."""
    marks = " and ".join(f"{mark:+g}" for mark in _marks(reading))
    return f"<small>circles: single runs; bars: 95 % intervals; dashed: {marks} matters</small>"
