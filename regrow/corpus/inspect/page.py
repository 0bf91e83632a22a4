"""`regrow corpus inspect`: one self-contained page of what a build did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from regrow.corpus.decontaminate import item_texts
from regrow.corpus.inspect import documents, funnel, rejects, variety
from regrow.corpus.inspect.decisions import COPIES, Decisions, read_decisions
from regrow.errors import RegrowError
from regrow.files import read_json, write_atomic
from regrow.page.charts import duration, short
from regrow.page.shell import fill
from regrow.records import Item

PAGE = "inspect.html"


def inspect(folder: Path, items: Sequence[Item] = (), seed: int = 0) -> Path:
    """Write inspect.html of a finished build; returns its path.

    Reads report.json and decisions.parquet, and where there are, documents/ and rejects/. `items`
    are the evaluation items, for builds whose report does not hold their text. Raises RegrowError
    where the folder holds no build.
    """
    for name in ("report.json", "decisions.parquet"):
        if not (folder / name).is_file():
            raise RegrowError(
                f"{folder} holds no {name}; give a folder that `regrow corpus build` wrote"
            )
    report = read_json(folder / "report.json")
    hits = report.get("contamination", {}).get("hits", [])
    found = read_decisions(folder, {str(hit["document"]) for hit in hits}, seed)
    after = found.after.summary()
    before = found.before.summary()
    _take_vocabulary(before, report.get("diversity", {}).get("before", {}))
    _take_vocabulary(after, report.get("diversity", {}).get("after", {}))
    texts = {item.id: "\n".join(item_texts(item)) for item in items}
    parts = {
        "name": escape(folder.resolve().name),
        "lead": _lead(found),
        "tiles": _tiles(found, report),
        "funnel": funnel.section(found, report),
        "reasons": documents.reasons(found, funnel.order(found, report)),
        "kept": documents.kept(found),
        "copies": documents.clusters(found),
        "contamination": documents.contamination(report, found.by_id, texts),
        "diversity": variety.diversity(before, after),
        "fertility": variety.fertility(report),
        "rejects": rejects.section(folder, report),
        "times": funnel.times(report),
    }
    html = fill("regrow.corpus.inspect", "page.html", parts)
    path = folder / PAGE
    write_atomic(path, html.encode("utf-8", "replace"))
    return path


def _take_vocabulary(counted: dict[str, Any], told: Mapping[str, Any]) -> None:
    """Words are counted while the texts are at hand: take them from the report."""
    if "vocabulary" in told:
        counted["vocabulary"] = told["vocabulary"]
    for name, own in counted.get("sources", {}).items():
        _take_vocabulary(own, told.get("sources", {}).get(name, {}))


def _amounts(found: Decisions) -> tuple[int, int, int]:
    """Documents read, kept without pieces, and characters kept."""
    kept = sum(amount.documents for amount in found.kept.values())
    kept -= sum(amount.documents for amount in found.pieces.values())
    gone = sum(a.documents for by_source in found.lost.values() for a in by_source.values())
    return kept + gone, kept, sum(amount.characters for amount in found.kept.values())


def _lead(found: Decisions) -> str:
    read, kept, _ = _amounts(found)
    if not found.lost:
        return f"All {read:,} documents were kept."
    counts = {
        key: sum(amount.documents for amount in by_source.values())
        for key, by_source in found.lost.items()
    }
    (stage, reason), most = max(counts.items(), key=lambda pair: (pair[1], pair[0]))
    why = f"{stage}: {reason}" if stage not in COPIES else stage
    return (
        f"Of {read:,} documents {kept:,} were kept ({kept / read:.0%}). The commonest reason to "
        f"remove one was “{escape(why)}” ({most:,}). Below is every reason, with texts to judge by."
    )


def _tiles(found: Decisions, report: Mapping[str, Any]) -> str:
    read, kept, characters = _amounts(found)
    tokens = sum(s.get("tokens", 0) for s in report.get("tokens", {}).get("sources", {}).values())
    seconds = sum(float(s) for s in report.get("seconds", {}).values())
    sources = len(found.sources())
    near = found.before.summary().get("near_copies", {}).get("rate")
    told = [
        (f"{read:,}", "documents read", f"from {sources} source{'s' if sources != 1 else ''}"),
        (f"{kept / read:.0%}" if read else "–", "kept", f"{kept:,} documents"),
        (short(characters), "characters kept", ""),
        (short(tokens) if tokens else "–", "tokens", "in the shards"),
        ("–" if near is None else f"{near:.1%}", "near-copies", "of what has text"),
        (duration(seconds) if seconds else "–", "of work", "all stages together"),
    ]
    return "".join(
        f"<div><b>{escape(value)}</b><span>{escape(label)}</span><small>{escape(more)}</small></div>"
        for value, label, more in told
    )
