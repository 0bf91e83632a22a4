"""Texts to judge by: samples for every reason, clusters of copies, contaminated passages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from html import escape
from typing import Any

from regrow.corpus.inspect.decisions import KEPT, Decisions, Row, likeness, scores

HITS = 40  # contaminated passages shown
SHARED = 4  # words in a row that are marked in item and passage
_BLANK = re.compile(r"\n(?:[ \t]*\n)+")


def card(row: Row, css: str, note: str = "") -> str:
    """One document: where it is from, what is known of it, how it begins."""
    traits = [row["source"], row["format"], row["language"], f"{row['characters']:,} characters"]
    known = [f"{name} {_short(value)}" for name, value in scores(row).items()]
    chips = "".join(f"<span>{escape(chip)}</span>" for chip in [*traits, *known] if chip)
    badge = f"<b>{escape(note)}</b>" if note else ""
    where = row["url"] or row["location"] or row["id"]
    text = (
        f'<pre dir="auto" tabindex="0">{escape(_BLANK.sub(chr(10), row["head"].strip()))}</pre>'
        if row["head"]
        else "<p class='empty'>No text was kept of this document.</p>"
    )
    return (
        f'<article class="doc {css}"><header><code title="{escape(where)}">{escape(where)}</code>'
        f'{badge}</header><div class="chips">{chips}</div>{text}</article>'
    )


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)[:60]


def reasons(found: Decisions, stages: Sequence[str]) -> str:
    """Every reason by stage, each with documents that it took beside some that stayed."""
    if not found.lost:
        return "<p class='empty'>Nothing was removed.</p>"
    counts = {
        key: sum(amount.documents for amount in by_source.values())
        for key, by_source in found.lost.items()
    }
    most, whole = max(counts.values()), sum(counts.values())
    parts = []
    for stage in stages:
        own = sorted((key for key in counts if key[0] == stage), key=lambda k: (-counts[k], k[1]))
        if own:
            total = sum(counts[key] for key in own)
            parts.append(f"<h3>{escape(stage)} <small>{total:,} documents</small></h3>")
        parts += [_reason(found, key, counts[key], counts[key] / most, whole) for key in own]
    return "".join(parts)


def _reason(
    found: Decisions, key: tuple[str, str], count: int, length: float, whole: int
) -> str:  # fmt: skip
    stage, reason = key
    removed = found.removed.get(key, [])
    wanted = list(dict.fromkeys(row["source"] for row in removed))
    kept = [row for name in wanted for row in found.survivors.get(name, [])][:KEPT]
    went = "".join(card(row, "went", row["detail"]) for row in removed)
    stayed = "".join(card(row, "stayed") for row in kept)
    return (
        f"<details class='reason'{' open' if length == 1 else ''}><summary>"
        f"<span>{escape(reason or stage)}</span>"
        f"<span class='funnel lost'><i style='width:{length * 100:.2f}%'></i></span>"
        f"<span class='num'>{count:,}</span><small>{count / whole:.1%}</small></summary>"
        f"<div class='beside'><div><h4>Removed, {len(removed)} of {count:,} at random</h4>{went}"
        f"</div><div><h4>Kept, from the same source</h4>"
        f"{stayed or '<p class=empty>Nothing of this source was kept.</p>'}</div></div></details>"
    )


def kept(found: Decisions) -> str:
    """Some of what was kept of each source."""
    parts = [
        f"<h3>{escape(name)}</h3><div class='cards'>"
        f"{''.join(card(row, 'stayed') for row in found.survivors[name])}</div>"
        for name in found.sources()
        if found.survivors.get(name)
    ]
    return "".join(parts) or "<p class='empty'>Nothing was kept.</p>"


def clusters(found: Decisions) -> str:
    """The largest clusters of copies, the survivor beside what was taken for its copy."""
    if not found.clusters:
        return "<p class='empty'>No copies were found.</p>"
    parts = []
    for i, (count, survivor, members) in enumerate(found.clusters):
        name = (survivor or members[0])["url"] or (survivor or members[0])["id"]
        left = (
            card(survivor, *_fate(survivor))
            if survivor
            else "<p class='empty'>The survivor is not among the decisions.</p>"
        )
        copies = "".join(card(row, "went", _alike(row)) for row in members)
        parts.append(
            f"<details{' open' if not i else ''}><summary>{count + 1:,} alike "
            f"<small>{escape(name)}</small></summary><div class='beside'><div><h4>Survivor</h4>"
            f"{left}</div><div><h4>Copies, {len(members)} of {count:,}</h4>{copies}</div></div>"
            "</details>"
        )
    return "".join(parts)


def _fate(row: Row) -> tuple[str, str]:
    return ("stayed", "") if row["kept"] else ("went", f"removed later: {row['stage']}")


def _alike(row: Row) -> str:
    value = likeness(row)
    return row["stage"] if value is None else f"{row['stage']}, likeness {value:.2f}"


def contamination(
    report: Mapping[str, Any], by_id: Mapping[str, Row], texts: Mapping[str, str]
) -> str:
    """Each passage that was found beside its item, the words they share marked.

    `texts` are those of the items by id, for reports that do not hold them.
    """
    told = report.get("contamination", {})
    if not told.get("items"):
        return (
            "<p class='empty'>No evaluation items were given to this build; give them with "
            "<code>regrow corpus build --decontaminate FILE</code>.</p>"
        )
    hits = told.get("hits", [])
    facts = f"{told['items']:,} items were looked for"
    if told.get("items_too_short"):
        facts += f", {told['items_too_short']:,} of them too short to tell from ordinary text"
    facts += f"; {told.get('documents_hit', 0):,} documents held one."
    pairs = [_hit(hit, by_id.get(hit["document"]), texts) for hit in hits[:HITS]]
    more = f"<p>{len(pairs)} of {len(hits)} listed hits are shown.</p>" if len(hits) > HITS else ""
    if told.get("hits_listed"):
        more += f"<p>All hits stand in <code>{escape(told['hits_listed'])}</code>.</p>"
    if any(not _text(hit, texts) for hit in hits):
        more += (
            "<p class='empty'>The report holds no text of some items; give them with "
            "<code>regrow corpus inspect DIR --decontaminate FILE</code>.</p>"
        )
    return f"<p>{facts}</p>{''.join(pairs)}{more}"


def _text(hit: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    return str(hit.get("item_text") or texts.get(str(hit["item"]), ""))


def _hit(hit: Mapping[str, Any], row: Row | None, texts: Mapping[str, str]) -> str:
    item = _text(hit, texts)
    asked, passage = mark_shared(item, _BLANK.sub("\n", str(hit.get("text", ""))))
    left = (
        f'<pre dir="auto">{asked}</pre>'
        if item
        else "<p class='empty'>Its text is not at hand.</p>"
    )
    pieces = hit.get("pieces_kept", 0)
    fate = "document dropped"
    if pieces:
        fate = f"cut, {pieces} piece{'s' if pieces > 1 else ''} kept"
    elif pieces is None:
        fate = "left as it is: decontaminate.sources does not name its source"
    where = hit.get("url") or (row or {}).get("location") or hit["document"]
    return (
        f"<div class='beside hit'><div><h4>Item {escape(str(hit['item']))} "
        f"<small>{escape(str(hit.get('ability', '')))}</small></h4>{left}</div>"
        f"<div><h4>Passage <small>{escape(str(where))} · {escape(fate)}</small></h4>"
        f'<pre dir="auto">{passage}</pre></div></div>'
    )


def mark_shared(a: str, b: str) -> tuple[str, str]:
    """Both texts as HTML, runs of words that stand in both marked."""
    sides = [[m.span() for m in re.finditer(r"\w+", text)] for text in (a, b)]
    words = [
        [text[start:stop].lower() for start, stop in spans] for text, spans in zip((a, b), sides)
    ]
    blocks = SequenceMatcher(None, words[0], words[1], autojunk=False).get_matching_blocks()
    runs = [block for block in blocks if block.size >= SHARED]
    first = _marked(a, [(sides[0][r.a][0], sides[0][r.a + r.size - 1][1]) for r in runs])
    return first, _marked(b, [(sides[1][r.b][0], sides[1][r.b + r.size - 1][1]) for r in runs])


def _marked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    parts, at = [], 0
    for start, stop in spans:
        parts += [escape(text[at:start]), f"<mark>{escape(text[start:stop])}</mark>"]
        at = stop
    return "".join(parts) + escape(text[at:])
