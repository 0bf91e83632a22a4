"""The last look at every page: its decision, its document, and all counts of the report."""

from __future__ import annotations

import heapq
import json
import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from regrow.corpus.diversity import Diversity
from regrow.corpus.engine import Watch
from regrow.corpus.page import Page, Problems
from regrow.corpus.parts import Store, once, write_table
from regrow.corpus.stages.job import Job, Pipeline
from regrow.corpus.stages.pages import vocabularies, vocabulary_of
from regrow.errors import RegrowError
from regrow.seeds import derive

DOCUMENT = ("id", "text", "source", "url", "domain", "format", "language", "licence")
DECISION = (
    "id", "location", "source", "url", "domain", "format", "language", "detail", "characters",
    "quality", "cluster", "head",
)  # fmt: skip


@dataclass
class Counted:
    """What is counted of some parts; merged part by part, so that no more than one is held."""

    before: Diversity = field(default_factory=Diversity)  # of all pages that were identified
    after: Diversity = field(default_factory=Diversity)
    #: Documents and characters by (source, reason, whether a piece).
    pages: dict[tuple[str, str, bool], list[int]] = field(default_factory=dict)
    licences: Counter[str] = field(default_factory=Counter)
    #: By source (rank, id) of the documents that are held out first.
    lowest: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def merge(self, other: Counted, heldout: int) -> None:
        """Add what another has counted, and keep so many of the lowest ranks of a source."""
        self.before.merge(other.before)
        self.after.merge(other.after)
        for key, (documents, characters) in other.pages.items():
            own = self.pages.setdefault(key, [0, 0])
            own[0] += documents
            own[1] += characters
        self.licences.update(other.licences)
        for source, ranks in other.lowest.items():
            both = [*self.lowest.get(source, ()), *ranks]
            self.lowest[source] = heapq.nsmallest(heldout, both)


def is_piece(page: Page) -> bool:
    """Whether a page is what contamination left of another."""
    return "-" in page.id


def count_part(job: Job, part: str, watch: Watch) -> None:
    """Write the documents and decisions of a part, and what the report needs of them."""

    def make(path: Path, documents: Path, counted: Path) -> None:
        pages = job.store.load(part)
        kept = [page for page in pages if not page.reason]
        write_table(documents, {name: list(map(attrgetter(name), kept)) for name in DOCUMENT})
        write_table(path, _decisions(pages))
        found = Counted(*_diversity(job, part, pages, kept))
        found.licences.update(page.licence or "unknown" for page in kept)
        for page in kept:
            rank = derive(job.settings.seed, "heldout", page.id)
            found.lowest.setdefault(page.source, []).append((rank, page.id))
        for page in pages:
            own = found.pages.setdefault((page.source, page.reason, is_piece(page)), [0, 0])
            own[0] += 1
            own[1] += page.characters
        counted.write_bytes(pickle.dumps(found))

    documents = job.store.path("documents", part)
    once(job.store.path("decisions", part), make, documents, _counted(job.store, part))


def _counted(store: Store, part: str) -> Path:
    return store.path("counted", part).with_suffix(".pickle")


def _diversity(
    job: Job, part: str, pages: Sequence[Page], kept: Sequence[Page]
) -> tuple[Diversity, Diversity]:
    """How varied the pages of a part were when they were identified, and are now."""
    before, after = Diversity(), Diversity()
    looked = "near copy" in job.settings.stages
    for page in pages:
        if page.language and not is_piece(page):
            near = page.reason.startswith("near copy") if looked else None
            before.add(_traits(page), page.characters, quality=page.quality, near_copy=near)
    texts: dict[str, list[str]] = {}
    for page in kept:
        after.add(_traits(page), page.characters, quality=page.quality)
        texts.setdefault(page.source, []).append(page.text)
    known = pickle.loads(vocabulary_of(job.store, part).read_bytes())
    for found, words in ((before, known), (after, vocabularies(texts))):
        for source in words.keys() & found.sources.keys():
            found.sources[source].vocabulary.merge(words[source])
    return before, after


def _traits(page: Page) -> dict[str, str]:
    return {name: getattr(page, name) for name in ("source", "domain", "format", "language")}


def _decisions(pages: Sequence[Page]) -> dict[str, Any]:
    """One row for every page read: kept or not, by which stage, why.

    `location` is the WARC record id, the file, or file:line; `detail` names the document that is
    copied (and how like it is), the item found, or the status; `cluster` is the survivor of the
    near-duplicates that a page belongs to, itself included, `survivor` that of a copy.
    """
    import pyarrow as pa

    kinds = {"characters": pa.int64(), "quality": pa.float32()}
    columns: dict[str, Any] = {
        name: pa.array(list(map(attrgetter(name), pages)), kinds.get(name, pa.string()))
        for name in DECISION
    }
    reasons = [page.reason.partition(": ") for page in pages]
    columns["record_id"] = pa.array(
        [page.location if page.location.startswith("<urn:") else "" for page in pages], pa.string()
    )
    columns["kept"] = pa.array([not page.reason for page in pages], pa.bool_())
    columns["stage"] = pa.array([stage for stage, _, _ in reasons], pa.string())
    columns["reason"] = pa.array([reason for _, _, reason in reasons], pa.string())
    copies = [stage in ("exact copy", "near copy") for stage, _, _ in reasons]
    columns["survivor"] = pa.array(
        [page.detail.split(" ")[0] if copy else "" for page, copy in zip(pages, copies)],
        pa.string(),
    )
    columns["scores"] = pa.array([json.dumps(_scores(page)) for page in pages], pa.string())
    return columns


def _scores(page: Page) -> dict[str, float]:
    scores = {} if page.quality is None else {"quality": round(page.quality, 5)}
    if page.reason.startswith("near copy"):
        scores["jaccard"] = float(page.detail.split(" ")[1])
    return scores


def choose_heldout(pipeline: Pipeline, counted: Counted) -> set[str]:
    """Ids of the documents that no shard holds: the same share of every source, by seed and id."""
    settings = pipeline.job.settings
    kept: Counter[str] = Counter()
    for (source, reason, _), (documents, _) in counted.pages.items():
        kept[source] += 0 if reason else documents
    return {
        id_
        for source, ranks in counted.lowest.items()
        for _, id_ in ranks[: round(settings.heldout_share * kept[source])]
    }


def count_all(pipeline: Pipeline) -> Counted:
    """Write the decisions and documents of every part; tells the counts of all."""
    pipeline.map(partial(count_part, pipeline.job), pipeline.store.parts)
    counted = Counted()
    for part in pipeline.store.parts:
        own = pickle.loads(_counted(pipeline.store, part).read_bytes())
        counted.merge(own, pipeline.job.settings.heldout_most)
    if any(not reason for _, reason, _ in counted.pages):
        return counted
    reasons: Counter[str] = Counter()
    for (_, reason, _), (documents, _) in counted.pages.items():
        reasons[reason] += documents
    most = "; ".join(f"{reason} ({n})" for reason, n in reasons.most_common(3))
    raise RegrowError(
        f"no document survived: {most or 'no file could be read'}; loosen the corpus settings"
    )


def funnel(
    counted: Counted, stages: Sequence[str], sources: Sequence[str], problems: Problems
) -> dict[str, Any]:
    """Documents and characters left after each stage, and what each reason took, by source.

    Pieces of contaminated documents count from the stage on that cut them.
    """
    rows = [
        (source, reason, piece, documents, characters)
        for (source, reason, piece), (documents, characters) in counted.pages.items()
    ]

    def left(gone: set[str], pieces: bool = False) -> dict[str, int]:
        own = [r for r in rows if r[2] <= pieces and r[1].split(":")[0] not in gone]
        return {"documents": sum(r[3] for r in own), "characters": sum(r[4] for r in own)}

    steps = [{"stage": "read", "documents": left(set())["documents"]}]
    for i, stage in enumerate(stages):
        gone = set(stages[: i + 1])
        characters = left(gone, pieces="contaminated" in gone)["characters"]
        steps.append(
            {"stage": stage, "documents": left(gone)["documents"], "characters": characters}
        )
    by_source = {}
    for source in sources:
        own = [row for row in rows if row[0] == source]
        reasons: Counter[str] = Counter()
        for _, reason, _, documents, _ in own:
            reasons[reason] += documents
        kept = reasons.pop("", 0)
        by_source[source] = {
            "left_out": dict(problems.left_out.get(source, {})),
            "read": sum(row[3] for row in own if not row[2]),
            "kept": kept,
            "characters": sum(row[4] for row in own if not row[1]),
            "reasons": dict(sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))),
        }
    return {
        "files": problems.files, "set_aside": len(problems.rows), "stages": steps,
        "sources": by_source,
    }  # fmt: skip
