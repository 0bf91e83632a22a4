"""How varied the corpus is before and after, and what its tokenizer makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from regrow.page import charts
from regrow.page.charts import Series, short

SIDES = {"before": "c-3", "after": "c-0"}
Side = Mapping[str, Any]


def shares(before: Side, after: Side, fields: Sequence[str]) -> str:
    """A pair of bars for each field: shares of characters before and after cleaning."""
    blocks = []
    for field in fields:
        sides = [(when, side.get(field)) for when, side in (("before", before), ("after", after))]
        if not all(side for _, side in sides):
            continue
        names = list(dict.fromkeys(n for _, side in sides if side for n in side["shares"]))
        classes = {name: f"k-{i % 10}" for i, name in enumerate(names[:10])}
        bars = "".join(
            charts.shares_bar(
                {n: s for n, s in side["shares"].items() if n in classes}, classes,
                f"{when} · {side['effective']:.1f} effective",
            )
            for when, side in sides if side
        )  # fmt: skip
        keys = "".join(
            f'<span class="{css}">{escape(name)}</span>' for name, css in list(classes.items())[:8]
        )
        bits = " → ".join(f"{side['entropy_bits']:.2f}" for _, side in sides if side)
        blocks.append(
            f"<div><h4>{field}s <small>{bits} bits of entropy</small></h4>{bars}"
            f'<p class="keys">{keys}</p></div>'
        )
    return f'<div class="diversity">{"".join(blocks)}</div>' if blocks else ""


def diversity(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The whole, then each source by itself."""
    whole = _one(before, after, ("source", "domain", "format", "language"))
    names = list(dict.fromkeys([*before.get("sources", {}), *after.get("sources", {})]))
    if len(names) < 2:
        return whole
    each = "".join(
        f"<details><summary>{escape(name)}</summary>"
        f"{_one(before['sources'].get(name, {}), after['sources'].get(name, {}), _FIELDS)}"
        "</details>"
        for name in names
    )
    return f"{whole}<h3>By source</h3>{each}"


_FIELDS = ("domain", "format", "language")


def _one(before: Side, after: Side, fields: Sequence[str]) -> str:
    found = shares(before, after, fields)
    if not found:
        return "<p class='empty'>Nothing of this source was kept, so there is no after.</p>"
    panels = "".join(
        f"<div>{panel}</div>"
        for panel in (_growth(before, after), _quality(before, after), _near(before))
    )
    return f'{found}<div class="panels">{panels}</div>'


def _growth(before: Side, after: Side) -> str:
    series, shown = [], []
    for when, side in (("before", before), ("after", after)):
        growth = side.get("vocabulary", {}).get("growth", [])
        if len(growth) > 1:
            tips = [f"{when}: {d:,} distinct words in {n:,}" for n, d in growth]
            series.append(Series(when, [(n, d) for n, d in growth], tips=tips))
            shown.append(f"{when} {short(growth[-1][1])} distinct words")
    if not series:
        return (
            "<h4>Vocabulary growth</h4>"
            "<p class='empty'>This build did not count words, or has fewer than a thousand.</p>"
        )
    top = max(y for one in series for _, y in one.points)
    chart = charts.line_chart(
        series, SIDES, title="Vocabulary growth: distinct words by words read", log_x=True,
        x_title="words", y_range=(0, top),
    )  # fmt: skip
    keys = "".join(
        f'<span class="{_SWATCH[one.name]}">{escape(text)}</span>'
        for one, text in zip(series, shown)
    )
    return f'{chart}<p class="keys">{keys}</p>'


_SWATCH = {"before": "k-2", "after": "k-0"}


def _quality(before: Side, after: Side) -> str:
    first, last = before.get("quality"), after.get("quality") or []
    if not first:
        return (
            "<h4>Quality</h4><p class='empty'>No document was scored: give trusted texts with "
            "<code>regrow corpus build --reference FILE</code>.</p>"
        )
    last = [*last, *[0] * (len(first) - len(last))]
    most = max(first) or 1
    bars = "".join(
        f"<div data-tip='{i / len(first):.2f} to {(i + 1) / len(first):.2f}: "
        f"{b:,} scored, {a:,} kept'>"
        f"<i class='k-2' style='height:{b / most * 100:.1f}%'></i>"
        f"<i class='k-0' style='height:{a / most * 100:.1f}%'></i></div>"
        for i, (b, a) in enumerate(zip(first, last))
    )
    return (
        f"<h4>Quality score: documents by score, 0 to 1</h4><div class='columns'>{bars}</div>"
        "<p class='keys'><span class='k-2'>scored</span><span class='k-0'>kept</span></p>"
    )


def _near(before: Side) -> str:
    near = before.get("near_copies")
    if not near:
        return "<h4>Near-copies</h4><p class='empty'>Nobody looked for near-copies.</p>"
    return (
        f"<h4>Near-copies</h4><p class='figure'><b>{near['rate']:.1%}</b> "
        f"{near['documents']:,} of {before['documents']:,} documents with text were near-copies "
        "of an earlier one.</p>"
    )


def fertility(report: Mapping[str, Any]) -> str:
    """Tokens a word (or bytes a token) by language and format, where the report has them."""
    tokens = report.get("tokens", {})
    found = tokens.get("fertility") or report.get("tokenizer", {}).get("fertility") or {}
    tables = [_fertility(str(group), rows) for group, rows in found.items() if rows]
    note = f"<p>Vocabulary of {tokens['vocabulary']:,}.</p>" if "vocabulary" in tokens else ""
    if not tables:
        return f"{note}<p class='empty'>This build did not measure its tokenizer by language.</p>"
    return f"{note}<div class='two even'>{''.join(tables)}</div>"


def _fertility(group: str, rows: Mapping[str, Any]) -> str:
    each = {
        str(name): dict(value) if isinstance(value, Mapping) else {"tokens a word": value}
        for name, value in rows.items()
    }
    columns = list(dict.fromkeys(key for row in each.values() for key in row))
    heads = "".join(f"<th>{escape(key.replace('_', ' '))}</th>" for key in columns)
    lines = "".join(
        f"<tr><th scope='row'>{escape(name)}</th>"
        + "".join(f"<td>{_told(row.get(key))}</td>" for key in columns)
        + "</tr>"
        for name, row in each.items()
    )
    return (
        f"<div class='scroll'><table class='plain numbers'><thead><tr>"
        f"<th>{escape(group.removeprefix('by_'))}</th>{heads}</tr></thead>"
        f"<tbody>{lines}</tbody></table></div>"
    )


def _told(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else escape(str(value))
    return f"{value:.2f}" if isinstance(value, float) else f"{value:,}"
