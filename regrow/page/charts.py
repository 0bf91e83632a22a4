"""Small drawings in SVG, coloured by the page's CSS variables so that they work light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, slots=True)
class Series:
    """A named curve. `bands` are (low, high) of each point, empty where there are none."""

    name: str
    points: Sequence[tuple[float, float]]
    bands: Sequence[tuple[float, float]] = ()
    tips: Sequence[str] = ()


def number(value: float, digits: int = 1) -> str:
    """A coordinate without trailing zeros."""
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"


def text(x: float, y: float, content: str, css: str = "", anchor: str = "start") -> str:
    """A text element."""
    classes = f' class="{css}"' if css else ""
    at = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{number(x)}" y="{number(y)}"{classes}{at}>{escape(content)}</text>'


def rule(css: str, x1: float, x2: float, y1: float, y2: float) -> str:
    """A straight line."""
    return (
        f'<line class="{css}" x1="{number(x1)}" x2="{number(x2)}" y1="{number(y1)}" '
        f'y2="{number(y2)}"/>'
    )


def leaf(x: float, y: float, height: float, width: float) -> str:
    """The outline of a leaf that grows up (height > 0) or hangs down from (x, y)."""
    if abs(height) < 2.2:  # too small for a shape: a bud on the branch
        return f'<circle cx="{number(x)}" cy="{number(y)}" r="1.5"/>'
    w, h = width, height
    return (
        f'<path d="M{number(x)} {number(y)}'
        f"C{number(x - w)} {number(y - 0.3 * h)} {number(x - w)} {number(y - 0.7 * h)} "
        f"{number(x)} {number(y - h)}"
        f"C{number(x + w)} {number(y - 0.7 * h)} {number(x + w)} {number(y - 0.3 * h)} "
        f'{number(x)} {number(y)}Z"/>'
    )


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers that cover a range, at most about `most` of them."""
    if high <= low:
        return [low]
    rough = (high - low) / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9) * step
    count = int((high - first) / step + 1e-9)
    return [round(first + i * step, 10) for i in range(count + 1)]


def short(value: float) -> str:
    """7M, 600k, 0.25 or 3."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """24 min, 38 s or 2.1 h."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 100 else f"{seconds:.0f} s"


def line_chart(
    series: Sequence[Series],
    colours: Mapping[str, str],
    *,
    title: str,
    x_title: str = "",
    labels: Sequence[str] = (),
    y_range: tuple[float, float] | None = None,
    percent: bool = False,
    log_x: bool = False,
    width: int = 360,
    height: int = 230,
) -> str:
    """Curves over numbers, or over `labels` when x is an index into them.

    `colours` maps a series to a CSS class; a series carries `data-node` so that the page can
    highlight one node in all charts.
    """
    left, right, top, bottom = 38, 22, 30, 40 if x_title else 26
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    if not xs:
        return ""
    scale_x = math.log10 if log_x else float
    x_low, x_high = scale_x(min(xs)), scale_x(max(xs))
    low, high = y_range or (min(ys), max(ys))
    if high <= low:
        low, high = low - 0.5, high + 0.5
    inner_w, inner_h = width - left - right, height - top - bottom

    def at_x(x: float) -> float:
        return left + (scale_x(x) - x_low) / ((x_high - x_low) or 1) * inner_w

    def at_y(y: float) -> float:
        return top + (1 - (min(max(y, low), high) - low) / (high - low)) * inner_h

    parts = [
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}">',
        text(0, 14, title, "chart-title"),
    ]
    for value in ticks(low, high):
        y = at_y(value)
        parts.append(rule("grid", left, width - right, y, y))
        shown = f"{value * 100:.0f}%" if percent else short(value)
        parts.append(text(left - 6, y + 3.5, shown, "tick", "end"))
    for x, shown in _x_ticks(labels, x_low, x_high, log_x):
        parts.append(text(at_x(x), height - bottom + 15, shown, "tick", "middle"))
    if x_title:
        parts.append(text(left + inner_w / 2, height - 6, x_title, "axis", "middle"))
    for one in series:
        parts.append(_curve(one, colours.get(one.name, "c-arm"), at_x, at_y))
    return "".join(parts) + "</svg>"


def _x_ticks(
    labels: Sequence[str], low: float, high: float, log_x: bool
) -> list[tuple[float, str]]:
    if labels:
        return [(float(index), label) for index, label in enumerate(labels)]
    if log_x:
        powers = range(math.floor(low), math.ceil(high) + 1)
        marks = [m * 10.0**p for p in powers for m in (1, 3)]
        return [(m, short(m)) for m in marks if low - 1e-9 <= math.log10(m) <= high + 1e-9]
    return [(value, short(value)) for value in ticks(low, high)]


def _curve(one: Series, css: str, at_x: object, at_y: object) -> str:
    assert callable(at_x) and callable(at_y)
    place = [(at_x(x), at_y(y)) for x, y in one.points]
    path = "M" + "L".join(f"{number(x)} {number(y)}" for x, y in place)
    parts = [f'<g class="series {css}" data-node="{escape(one.name)}">']
    if one.bands:
        there = [f"{number(x)} {number(at_y(high))}" for (x, _), (_, high) in zip(place, one.bands)]
        back = [f"{number(x)} {number(at_y(low))}" for (x, _), (low, _) in zip(place, one.bands)]
        parts.append(f'<path class="band" d="M{"L".join(there + back[::-1])}Z"/>')
    parts.append(f'<path class="line" d="{path}"/>')
    for (x, y), tip in zip(place, one.tips):
        parts.append(f'<circle cx="{number(x)}" cy="{number(y)}" r="3" data-tip="{escape(tip)}"/>')
    return "".join(parts) + "</g>"


def interval_strip(
    mean: float, low: float, high: float, *, bound: float | None, chance: float | None,
    span: tuple[float, float], good: str, width: int = 220, height: int = 24,
) -> str:  # fmt: skip
    """A measured interval on a scale with the bar it has to clear."""
    first, last = span

    def at(value: float) -> float:
        return 4 + (min(max(value, first), last) - first) / ((last - first) or 1) * (width - 8)

    middle = height / 2
    parts = [
        f'<svg class="strip {good}" viewBox="0 0 {width} {height}" aria-hidden="true">',
        rule("rail", 4, width - 4, middle, middle),
    ]
    if chance is not None and first <= chance <= last:
        parts.append(rule("chance", at(chance), at(chance), 7, height - 7))
    parts.append(rule("interval", at(low), at(high), middle, middle))
    parts.append(f'<circle class="mean" cx="{number(at(mean))}" cy="{middle}" r="4.5"/>')
    if bound is not None:
        parts.append(rule("bound", at(bound), at(bound), 1, height - 1))
    return "".join(parts) + "</svg>"


def shares_bar(shares: Mapping[str, float], classes: Mapping[str, str], label: str) -> str:
    """One bar cut into shares that sum to at most 1, as HTML."""
    rest = max(0.0, 1 - sum(shares.values()))
    pieces = [(name, share) for name, share in shares.items() if share > 0.0005]
    if rest > 0.005:
        pieces.append(("others", rest))
    cells = "".join(
        f'<i class="{classes.get(name, "k-rest")}" style="flex-grow:{share:.5f}" '
        f'data-tip="{escape(name)}: {share:.1%}"></i>'
        for name, share in pieces
    )
    return f'<div class="shares"><span>{escape(label)}</span><div>{cells}</div></div>'
