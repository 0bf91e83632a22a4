"""Evaluation items found in the texts and cut out of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from regrow.corpus import decontaminate
from regrow.corpus.engine import Watch
from regrow.corpus.grams import hash_words
from regrow.corpus.page import Page
from regrow.corpus.parts import Store, column, once, write_pages, write_table
from regrow.corpus.stages.job import Job, Pipeline
from regrow.files import read_jsonl, write_jsonl
from regrow.records import Item

HITS = "contamination.jsonl"  # of a finished corpus: every hit
LISTED = 1000  # hits written out in the report as well
#: What the report says where there is nothing to look for.
NOTHING: dict[str, Any] = {
    "items": 0, "items_too_short": 0, "common_grams_ignored": 0, "items_hit": {},
    "documents_hit": 0, "documents_left": {}, "hits": [],
}  # fmt: skip


def find_part(job: Job, wanted: decontaminate.Wanted, part: str, watch: Watch) -> int:
    """The grams of items in the kept texts of a part; tells how many."""

    def make(path: Path) -> int:
        first = job.store.first(part)
        kept = [(n, page) for n, page in enumerate(job.store.load(part), first) if not page.reason]
        found = wanted.find(hash_words(page.text for _, page in kept))
        numbers = np.asarray([number for number, _ in kept], np.int64)
        found["number"] = numbers[found.pop("text")] if len(kept) else np.empty(0, np.int64)
        write_table(path, found)
        return len(found["number"])

    told: int = once(job.store.path("item-grams", part), make)
    return told


def cut_part(
    job: Job, items: Sequence[Item], ordinary: frozenset[int], part: str, watch: Watch
) -> dict[str, Any]:
    """Replace the texts of a part that hold items by their clean pieces; tells what was found."""
    settings = job.settings.decontaminate

    def make(path: Path, hits_path: Path) -> dict[str, Any]:
        import pyarrow.parquet as pq

        pages = job.store.load(part)
        first = job.store.first(part)
        by_number: dict[int, list[decontaminate.Hit]] = {}
        table = pq.read_table(job.store.path("item-grams", part), partitioning=None)
        for row in table.to_pylist():
            if row["gram"] not in ordinary:
                hit = decontaminate.Hit(row["number"], row["item"], row["start"], row["stop"])
                by_number.setdefault(row["number"], []).append(hit)
        listed: list[dict[str, Any]] = []
        left: dict[str, Counter[str]] = {}
        found: set[int] = set()
        for number, hits in sorted(by_number.items()):
            page = pages[number - first]
            found.update(hit.item for hit in hits)
            if settings.sources is not None and page.source not in settings.sources:
                abilities = {items[hit.item].ability for hit in hits}
                left.setdefault(page.source, Counter()).update(abilities)
                listed += _listed(page, hits, None, items)
                continue
            pieces = decontaminate.clean_pieces(page.text, hits, settings)
            listed += _listed(page, hits, len(pieces), items)
            page.detail = items[hits[0].item].id
            page.reason = "contaminated: cut into pieces" if pieces else "contaminated: dropped"
            for i, piece in enumerate(pieces):
                pages.append(
                    replace(
                        page, text=piece, id=f"{page.id}-{i + 1}", reason="", detail="",
                        characters=len(piece), head=piece[: len(page.head)],
                    )
                )  # fmt: skip
        write_pages(path, pages)
        write_jsonl(hits_path, listed)
        return {"documents": len(by_number), "items": sorted(found), "left": left}

    told: dict[str, Any] = once(job.store.path("clean", part), make, _hits_of(job.store, part))
    return told


def _hits_of(store: Store, part: str) -> Path:
    """Where the hits in a part are listed."""
    return store.path("hits", part).with_suffix(".jsonl")


def _hits(store: Store, left: bool) -> Iterator[dict[str, Any]]:
    """The hits in documents that are left whole, or in all others."""
    for part in store.parts:
        for row in read_jsonl(_hits_of(store, part)):
            if (row["pieces_kept"] is None) == left:
                yield row


def write_hits(pipeline: Pipeline, folder: Path) -> None:
    """List every hit in a finished corpus, where items were looked for."""
    if "hits_listed" not in pipeline.notes.get("contamination", {}):
        return
    with open(folder / HITS, "wb") as file:
        for part in pipeline.store.parts:
            file.write(_hits_of(pipeline.store, part).read_bytes())


def _listed(
    page: Page, hits: Sequence[decontaminate.Hit], pieces: int | None, items: Sequence[Item]
) -> list[dict[str, Any]]:
    """A row for each item found in a page; `pieces` of it are kept, None where it is left whole."""
    rows: list[dict[str, Any]] = []
    for number in dict.fromkeys(hit.item for hit in hits):
        own = [hit for hit in hits if hit.item == number]
        start, stop = decontaminate.spans(page.text, own)[0]
        rows.append(
            {
                "document": page.id, "source": page.source, "url": page.url,
                "item": items[number].id, "ability": items[number].ability,
                "text": page.text[start:stop][:200],
                "item_text": next(decontaminate.item_texts(items[number]))[:300],
                "pieces_kept": pieces,
            }
        )  # fmt: skip
    return rows


def drop_contaminated(pipeline: Pipeline, items: Sequence[Item]) -> None:
    """Cut evaluation items out of the documents."""
    job, settings = pipeline.job, pipeline.job.settings.decontaminate
    wanted = decontaminate.wanted(items, settings)
    if not wanted.by_length:
        pipeline.notes["contamination"] = NOTHING | {
            "items": len(items), "items_too_short": wanted.too_short,
        }  # fmt: skip
        return
    pipeline.map(partial(find_part, job, wanted), job.store.parts)
    files = job.store.files("item-grams")
    ordinary = decontaminate.ordinary(
        column(files, "gram"), column(files, "number"), settings.common
    )
    told = pipeline.map(partial(cut_part, job, items, ordinary), job.store.parts)
    pipeline.store = job.store.rewritten("clean")
    found = {number for one in told for number in one["items"]}
    left: dict[str, Counter[str]] = {}
    for one in told:
        for source, abilities in one["left"].items():
            left.setdefault(source, Counter()).update(abilities)
    hits = chain(_hits(job.store, left=False), _hits(job.store, left=True))
    pipeline.notes["contamination"] = {
        "items": len(items),
        "items_too_short": wanted.too_short,
        "common_grams_ignored": len(ordinary),
        "items_hit": dict(Counter(items[number].ability for number in sorted(found))),
        "documents_hit": sum(one["documents"] for one in told),
        "documents_left": {source: dict(counts) for source, counts in left.items()},
        "hits": list(islice(hits, LISTED)),
        "hits_listed": HITS,
    }
