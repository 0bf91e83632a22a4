"""What each stage left, by source, and where the time went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from regrow.corpus.inspect.decisions import Amount, Decisions
from regrow.page.charts import duration, short

STAGES = (
    "read", "extract", "language", "rules", "exact copy", "quality", "near copy", "contaminated",
)  # fmt: skip

#: What is left after a stage: documents and characters by source.
Left = tuple[str, Mapping[str, Amount]]


def colours(sources: Sequence[str]) -> dict[str, str]:
    """The CSS class of each source."""
    return {name: f"k-{i % 10}" for i, name in enumerate(sources)}


def order(found: Decisions, report: Mapping[str, Any]) -> list[str]:
    """The stages as the build went through them; unknown ones come last."""
    told = [str(row["stage"]) for row in report.get("funnel", {}).get("stages", [])]
    met = sorted({stage for stage, _ in found.lost})
    return list(dict.fromkeys([*(told or STAGES), *met]))


def stages(found: Decisions, report: Mapping[str, Any]) -> list[Left]:
    """Documents and characters left after each stage; pieces of cut documents are left out."""
    left = {name: Amount() for name in found.sources()}
    for by_source in [found.kept, *found.lost.values()]:
        for name, amount in by_source.items():
            left[name].documents += amount.documents
            left[name].characters += amount.characters
    for name, amount in found.pieces.items():
        left[name].documents -= amount.documents
        left[name].characters -= amount.characters
    rows: list[Left] = []
    for stage in order(found, report):
        for (lost_in, _), by_source in found.lost.items():
            if lost_in == stage:
                for name, amount in by_source.items():
                    left[name].documents -= amount.documents
                    left[name].characters -= amount.characters
        rows.append((stage, {n: Amount(a.documents, a.characters) for n, a in left.items()}))
    return rows


def chart(rows: Sequence[Left], of: str) -> str:
    """Bars of what is left after each stage, cut by source, with what the stage took behind."""
    if not rows:
        return "<p>No document was read.</p>"
    paint = colours(list(rows[0][1]))
    whole = [sum(getattr(amount, of) for amount in left.values()) for _, left in rows]
    most = max(*whole, 1)
    lines = []
    for i, (stage, left) in enumerate(rows):
        gone = whole[i - 1] - whole[i] if i else 0
        cells = "".join(
            f'<i class="{paint[name]}" style="width:{getattr(amount, of) / most * 100:.3f}%" '
            f'data-tip="{escape(name)}: {getattr(amount, of):,} {of} after {escape(stage)}"></i>'
            for name, amount in left.items()
            if getattr(amount, of)
        )
        if gone > 0:
            cells += (
                f'<i class="took" style="width:{gone / most * 100:.3f}%" '
                f'data-tip="{escape(stage)} took {gone:,} {of}"></i>'
            )
        told = short(gone) if of == "characters" else f"{gone:,}"
        shown = short(whole[i]) if of == "characters" else f"{whole[i]:,}"
        lines.append(
            f"<tr><th scope='row'>{escape(stage)}</th><td class='stack'><div>{cells}</div></td>"
            f"<td class='num'>{shown}</td>"
            f"<td class='num gone'>{f'−{told}' if gone > 0 else ''}</td></tr>"
        )
    return f"<h3>{of.capitalize()}</h3><table class='funnel-table'>{''.join(lines)}</table>"


def section(found: Decisions, report: Mapping[str, Any]) -> str:
    """Two funnels, and each source's balance."""
    rows = stages(found, report)
    sides = f"<div>{chart(rows, 'documents')}</div><div>{chart(rows, 'characters')}</div>"
    cut = sum(amount.documents for amount in found.pieces.values())
    held = sum(amount.characters for amount in found.pieces.values())
    note = (
        f"<p>Besides, {cut:,} clean pieces of contaminated documents were kept "
        f"({short(held)} characters).</p>"
        if cut
        else ""
    )
    return f'<div class="two even">{sides}</div>{note}{_sources(found, rows, report)}'


def _sources(found: Decisions, rows: Sequence[Left], report: Mapping[str, Any]) -> str:
    paint = colours(found.sources())
    tokens = report.get("tokens", {}).get("sources", {})
    lines = []
    for name in found.sources():
        read = rows[0][1][name].documents + sum(
            by_source[name].documents
            for (stage, _), by_source in found.lost.items()
            if stage == rows[0][0] and name in by_source
        )
        kept = found.kept.get(name, Amount())
        cut = found.pieces.get(name, Amount()).documents
        share = (kept.documents - cut) / read if read else 0.0
        own = tokens.get(name, {})
        lines.append(
            f"<tr><th scope='row'><span class='dot {paint[name]}'></span>{escape(name)}</th>"
            f"<td>{read:,}</td><td>{kept.documents:,}</td><td>{share:.1%}</td>"
            f"<td>{short(kept.characters)}</td>"
            f"<td>{short(own['tokens']) if 'tokens' in own else '–'}</td>"
            f"<td>{own.get('bytes_per_token', '–')}</td></tr>"
        )
    return (
        "<div class='scroll'><table class='plain numbers'><thead><tr><th>source</th><th>read</th>"
        "<th>kept</th><th>share</th><th>characters</th><th>tokens</th><th>bytes a token</th></tr>"
        f"</thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def times(report: Mapping[str, Any]) -> str:
    """Seconds of each stage as bars."""
    seconds = {str(k): float(v) for k, v in report.get("seconds", {}).items()}
    if not seconds:
        return "<p class='empty'>This build wrote no times.</p>"
    most = max(*seconds.values(), 1e-9)
    lines = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td class='funnel'>"
        f"<i style='width:{value / most * 100:.2f}%'></i></td>"
        f"<td class='num'>{f'{value:.2f} s' if value < 10 else duration(value)}</td></tr>"
        for name, value in seconds.items()
    )
    whole = duration(sum(seconds.values()))
    return f"<table class='funnel-table'>{lines}</table><p>{whole} in all.</p>"
