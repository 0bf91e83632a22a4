"""The family tree as a drawing: branches are stages, leaves are what a stage gave or took.

A branch is the zero line. Each leaf is one ability, always in the same place: it grows up where
the child does better than its parent on the same items, and hangs down where it does worse.
Leaves that are not significant (Holm over the whole tree) are only outlined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from regrow.evaluate.abilities import LINES, Line
from regrow.evaluate.comparison import Change, NodeReport
from regrow.page.charts import leaf, number, short, text

LEAVES = tuple(line for line in LINES if line.short)
_FULL = 54  # height of a leaf for a change of a whole unit
_SOIL, _CARD, _BRANCH, _ROW, _TALL = 74, 158, 208, 160, 56
_BEND = 40  # how much of a branch is bend before the leaves begin
ORIGIN = "documents"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A change of one line, scaled so that 1 is a whole unit; None where it was not measured."""

    line: Line
    size: float
    sure: bool
    tip: str
    words: str = ""  # the change in the line's unit, e.g. +88 or −0.13 bits


def percent(value: float, line: Line, sign: bool = False) -> str:
    """A value in the line's unit: per cent, bits or a count."""
    plus = "+" if sign and value > 0 else ""
    if line.unit == "share":
        return f"{plus}{value * 100:.0f}".replace("-", "−")
    return f"{plus}{value:.2f}".replace("-", "−")


def unit(line: Line) -> str:
    """What stands behind a value."""
    return {"share": " %", "bits": " bits"}.get(line.unit, "")


def leaves(changes: Sequence[Change]) -> list[Leaf]:
    """The leaves of a branch from a parent to its child."""
    found = {change.line.name: change for change in changes}
    return [_leaf(found[line.name]) for line in LEAVES if line.name in found]


def _leaf(change: Change) -> Leaf:
    line, paired = change.line, change.paired
    scale = {"share": 1.0, "bits": 1.0, "count": 2.0}[line.unit]
    p = "p < .001" if change.adjusted < 0.001 else f"p = {change.adjusted:.3f}"
    tip = (
        f"{line.title}\n{change.parent}: {percent(change.before, line)}{unit(line)}\n"
        f"{change.child}: {percent(change.after, line)}{unit(line)}\n"
        f"change {percent(paired.difference, line, True)} "
        f"[{percent(paired.low, line, True)}, {percent(paired.high, line, True)}], {p} "
        f"after Holm, n = {paired.n}"
    )
    size = max(-1.0, min(1.0, change.gain / scale))
    amount = percent(abs(paired.difference), line) + ("" if line.unit == "share" else unit(line))
    words = f"{line.short} {'+' if size > 0 else '−'}{amount}"
    return Leaf(line, size, change.significant, tip, words)


def seedling(node: NodeReport) -> list[Leaf]:
    """The leaves of a branch from nothing: what a root does above blind guessing.

    Lines in which more is not better, and counts, say nothing without a parent.
    """
    found = []
    for line in LEAVES:
        score = node.lines.get(line.name)
        if score is None or score.chance is None or line.unit == "count":
            continue
        if line.best < 0 and line.unit == "share":
            continue
        above = (score.score - score.chance) * line.best / (8.0 if line.unit == "bits" else 1.0)
        sure = score.low > score.chance + 1e-9 if line.best > 0 else score.high < score.chance
        tip = (
            f"{line.title}\n{node.name}: {percent(score.score, line)}{unit(line)} "
            f"[{percent(score.low, line)}, {percent(score.high, line)}]\n"
            f"guessing: {percent(score.chance, line)}{unit(line)}, n = {score.n}"
        )
        words = f"{line.short} {percent(score.score, line)}{unit(line).replace(' %', '')}"
        found.append(Leaf(line, above, sure, tip, words))
    return found


def branch(found: Sequence[Leaf], x: float, y: float, width: float) -> str:
    """The leaves along a branch, each line of the report in its own place."""
    place = {line.name: index for index, line in enumerate(LEAVES)}
    pitch = width / len(LEAVES)
    parts = []
    for one in found:
        at = x + (place[one.line.name] + 0.5) * pitch
        side = "up" if one.size > 0 else "down"
        css = f"leaf {side}{'' if one.sure else ' unsure'}"
        if abs(one.size) * _FULL < 2.2:
            css = "leaf bud"
        reach = _FULL + 8
        parts.append(
            f'<g class="{css}" data-tip="{escape(one.tip)}">'
            f'<rect x="{number(at - pitch / 2)}" y="{number(y - reach)}" '
            f'width="{number(pitch)}" height="{2 * reach}"/>'
            f"{leaf(at, y, one.size * _FULL, pitch * 0.62)}</g>"
        )
    return "".join(parts)


def summary(found: Sequence[Leaf], up: bool, most: int = 2) -> str:
    """The largest sure gains (or losses) in a few words: `code +88 · labels +41`."""
    chosen = [one for one in found if one.sure and (one.size > 0.02 if up else one.size < -0.02)]
    chosen.sort(key=lambda one: -abs(one.size))
    return " · ".join(one.words for one in chosen[:most])


def drawing(nodes: Sequence[NodeReport], changes: Mapping[str, Sequence[Change]]) -> str:
    """The tree of main nodes from left to right; `changes` are by child.

    Every node stands in the row of its first child, so that the first line of descent is straight.
    """
    names = {node.name for node in nodes}
    depth: dict[str, int] = {}
    row: dict[str, float] = {}
    children: dict[str | None, list[NodeReport]] = {}
    for node in nodes:
        above = node.parent if node.parent in names else None
        children.setdefault(above, []).append(node)
        depth[node.name] = depth[above] + 1 if above else 0
    last = -1.0

    def settle(node: NodeReport) -> float:
        nonlocal last
        below = children.get(node.name, [])
        rows = [settle(child) for child in below]
        if not below:
            last += 1
        row[node.name] = rows[0] if rows else last
        return row[node.name]

    for root in children.get(None, []):
        settle(root)
    width = _SOIL + (max(depth.values()) + 1) * (_BRANCH + _CARD) + 2
    height = (last + 1) * _ROW + 6
    first = [row[root.name] for root in children.get(None, [])]
    origin = (sum(first) / len(first) + 0.5) * _ROW
    parts = [
        f'<svg class="tree" viewBox="0 0 {number(width)} {number(height)}" role="img" '
        'aria-label="The family tree; the table below holds the same numbers">',
    ]
    cards = [_soil(origin)]
    for node in nodes:
        x = _SOIL + depth[node.name] * (_BRANCH + _CARD)
        y = (row[node.name] + 0.5) * _ROW
        above = node.parent if node.parent in names else None
        start = (row[above] + 0.5) * _ROW if above else origin
        found = leaves(changes.get(node.name, ())) if above else seedling(node)
        parts.append(_edge(x, start, y, found))
        cards.append(_card(node, x + _BRANCH, y))
    return "".join(parts + cards) + "</svg>"


def _edge(x: float, start: float, y: float, found: Sequence[Leaf]) -> str:
    bend = x + _BEND
    curve = (
        f"C{number(x + 26)} {number(start)} {number(x + 12)} {number(y)} {number(bend)} {number(y)}"
    )
    parts = [
        f'<path class="branch" d="M{number(x)} {number(start)}{curve}H{number(x + _BRANCH)}"/>'
    ]
    parts.append(branch(found, bend + 2, y, _BRANCH - _BEND - 8))
    middle = bend + (_BRANCH - _BEND) / 2
    tallest = max((one.size for one in found), default=0.0) * _FULL
    deepest = max((-one.size for one in found), default=0.0) * _FULL
    if gains := summary(found, True):
        parts.append(text(middle, y - max(8.0, tallest) - 9, gains, "gains", "middle"))
    if losses := summary(found, False):
        parts.append(text(middle, y + max(8.0, deepest) + 17, losses, "losses", "middle"))
    return "".join(parts)


def _soil(y: float) -> str:
    return (
        f'<g class="soil"><rect x="0" y="{number(y - 22)}" width="{_SOIL}" height="44" rx="22"/>'
        f"{text(_SOIL / 2, y + 4, ORIGIN, '', 'middle')}</g>"
    )


def _card(node: NodeReport, x: float, y: float) -> str:
    top = y - _TALL / 2
    tip = "\n".join(filter(None, [node.name, f"stands for {node.stands_for}"
                                  if node.stands_for else "", edge_words(node)]))  # fmt: skip
    return (
        f'<g class="card" data-tip="{escape(tip)}"><rect x="{number(x)}" y="{number(top)}" '
        f'width="{_CARD}" height="{_TALL}" rx="10"/>'
        f"{text(x + _CARD / 2, y - 4, node.name, 'name', 'middle')}"
        f"{text(x + _CARD / 2, y + 14, edge_words(node), 'stage', 'middle')}</g>"
    )


def edge_words(node: NodeReport) -> str:
    """The stage and its tokens, e.g. `supervised · 600k tokens`."""
    stage = node.stage
    if stage == "pretrain" and node.parent:
        stage = "trained on"
    words = {"pretrain": "pretrained", "supervised": "instructions", "feedme": "FeedME",
             "rlhf": "RLHF"}.get(stage, stage)  # fmt: skip
    return f"{words} · {short(node.tokens)} tokens" if node.tokens else words


def strip(node: NodeReport, found: Sequence[Leaf], level: int = 0) -> str:
    """One branch as a row of its own, for narrow screens and for control arms."""
    width = 300
    over = max([6.0, *(one.size * _FULL for one in found)]) + 3
    under = max([6.0, *(-one.size * _FULL for one in found)]) + 3
    gains, losses = summary(found, True, 3), summary(found, False, 3)
    origin = escape(node.parent) if node.parent else "documents"
    drawn = (
        f'<svg viewBox="0 {number(-over)} {width} {number(over + under)}" aria-hidden="true">'
        f'<path class="branch" d="M0 0H{width}"/>{branch(found, 4, 0, width - 8)}</svg>'
    )
    words = "".join(
        f'<span class="{css}">{arrow} {escape(said)}</span>'
        for css, arrow, said in (("gains", "▲", gains), ("losses", "▼", losses))
        if said
    )
    stands = f'<small class="stands">{escape(node.stands_for)}</small>' if node.stands_for else ""
    return (
        f'<li class="twig" style="--level:{level}"><div><b>{escape(node.name)}</b>'
        f"<small>from {origin} · {escape(edge_words(node))}</small>{stands}"
        f"<p>{words or '<span>no sure change</span>'}</p></div>{drawn}</li>"
    )


def legend() -> str:
    """How to read a branch: a leaf for each line, named, in the order of the drawing."""
    pitch, top = 34, 86
    width = pitch * len(LEAVES) + 90
    names = [
        text(0, 0, line.short, "leaf-name").replace(
            '<text x="0" y="0"',
            f'<text transform="translate({number((i + 0.5) * pitch)} {top - 16}) rotate(-42)"',
        )
        for i, line in enumerate(LEAVES)
    ]
    shapes = [
        f'<g class="leaf up">{leaf((i + 0.5) * pitch, top + 14, 22, 6)}</g>'
        for i in range(len(LEAVES))
    ]
    return (
        f'<svg class="legend" viewBox="0 0 {width} {top + 20}" role="img" '
        f'aria-label="Order of the leaves"><path class="branch" d="M0 {top + 14}H{width - 84}"/>'
        f"{''.join(shapes)}{''.join(names)}</svg>"
    )
