"""A build's decisions, read twice in batches: once to count, once for the texts to be shown."""

from __future__ import annotations

import heapq
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regrow.corpus.diversity import Diversity
from regrow.seeds import derive

Row = dict[str, Any]

UNREAD = ("read", "extract")  # stages before a document's text is known
COPIES = ("exact copy", "near copy")
REMOVED, KEPT, CLUSTERS, MEMBERS = 6, 6, 12, 4  # samples a reason, a source; clusters, copies shown
HEAD = 400  # characters shown
_PIECE = re.compile(r"[^-]+-\d+")  # the id of a piece: that of its document and a number


@dataclass(slots=True)
class Amount:
    """Documents and their characters."""

    documents: int = 0
    characters: int = 0

    def add(self, characters: int) -> None:
        """One more document."""
        self.documents += 1
        self.characters += characters


@dataclass(slots=True)
class Sample:
    """The documents of the lowest draws: a fair sample that no order of reading changes."""

    size: int
    held: list[tuple[int, int]] = field(default_factory=list)  # (-draw, row number)

    def offer(self, draw: int, number: int) -> None:
        """Take the row in if its draw is low enough."""
        if len(self.held) < self.size:
            heapq.heappush(self.held, (-draw, number))
        elif -draw > self.held[0][0]:
            heapq.heapreplace(self.held, (-draw, number))

    def numbers(self) -> list[int]:
        """The row numbers, lowest draw first."""
        return [number for _, number in sorted(self.held, reverse=True)]


@dataclass
class Decisions:
    """What the decisions come to. Reasons are (stage, reason); samples are rows with `head`."""

    lost: dict[tuple[str, str], dict[str, Amount]] = field(default_factory=dict)
    kept: dict[str, Amount] = field(default_factory=dict)
    pieces: dict[str, Amount] = field(default_factory=dict)  # kept, of documents that were cut
    before: Diversity = field(default_factory=Diversity)
    after: Diversity = field(default_factory=Diversity)
    removed: dict[tuple[str, str], list[Row]] = field(default_factory=dict)
    survivors: dict[str, list[Row]] = field(default_factory=dict)
    clusters: list[tuple[int, Row | None, list[Row]]] = field(default_factory=list)
    by_id: dict[str, Row] = field(default_factory=dict)

    def sources(self) -> list[str]:
        """All sources, the one with most documents first."""
        counts = Counter({name: amount.documents for name, amount in self.kept.items()})
        for by_source in self.lost.values():
            counts.update({name: amount.documents for name, amount in by_source.items()})
        return [name for name, _ in sorted(counts.items(), key=lambda p: (-p[1], p[0]))]


def original(row: Row) -> str:
    """The document that a removed copy is like; '' for any other document."""
    if row["stage"] not in COPIES:
        return ""
    survivor = row.get("survivor")
    return survivor if isinstance(survivor, str) and survivor else row["detail"].partition(" ")[0]


def scores(row: Row) -> dict[str, Any]:
    """The scores of a row, however they are stored; empty where there are none."""
    found = row.get("scores")
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except ValueError:
            found = None
    if isinstance(found, list):
        found = dict(found)
    known = {k: v for k, v in (found or {}).items() if v is not None}
    return known if row.get("quality") is None else {"quality": row["quality"], **known}


def likeness(row: Row) -> float | None:
    """How like a copy is to its survivor: 1 for exact copies, None where it was not written."""
    if row["stage"] == "exact copy":
        return 1.0
    words = row["detail"].split()
    told = words[1] if len(words) > 1 else scores(row).get("jaccard", scores(row).get("likeness"))
    try:
        return None if told is None else float(told)
    except ValueError:
        return None


_WORDS = ("id", "location", "source", "url", "domain", "format", "language", "detail", "stage",
          "reason", "head")  # fmt: skip


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    """(number, row) of every decision, without heads."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    columns = [name for name in file.schema_arrow.names if name != "head"]
    batches = file.iter_batches(batch_size=4096, columns=columns)
    for number, row in enumerate(row for batch in batches for row in batch.to_pylist()):
        yield number, _whole(row)


def _chosen(path: Path, numbers: set[int], ids: set[str]) -> Iterator[tuple[int, Row]]:
    """(number, row) with heads of all copies and of the rows with these numbers or ids."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    places = np.asarray(sorted(numbers), np.int64)
    named, copied = pa.array(sorted(ids), pa.string()), pa.array(COPIES)
    first = 0
    for batch in pq.ParquetFile(path).iter_batches(batch_size=4096):
        own = places[(places >= first) & (places < first + len(batch))] - first
        mask = np.isin(np.arange(len(batch)), own)
        for column, values in (("id", named), ("stage", copied)):
            mask |= pc.is_in(batch[column], values).to_numpy(zero_copy_only=False)
        for place, row in zip(np.flatnonzero(mask), batch.filter(pa.array(mask)).to_pylist()):
            yield first + int(place), _whole(row)
        first += len(batch)


def _whole(row: Row) -> Row:
    """The row with absent columns filled with what they mean empty."""
    for name in _WORDS:
        row[name] = row.get(name) or ""
    row["characters"] = row.get("characters") or 0
    row["kept"] = bool(row.get("kept", not row["stage"]))
    return row


def read_decisions(folder: Path, wanted: Iterable[str] = (), seed: int = 0) -> Decisions:
    """Count all decisions of a build and fetch the rows to be shown.

    `wanted` are ids that are to be in `by_id` too. Memory is bounded by the number of reasons,
    sources, domains and clusters.
    """
    path = folder / "decisions.parquet"
    found = Decisions()
    taken: dict[tuple[str, str], Sample] = defaultdict(lambda: Sample(REMOVED))
    left: dict[str, Sample] = defaultdict(lambda: Sample(KEPT))
    copies: Counter[str] = Counter()
    for number, row in _rows(path):
        copy = original(row)
        copies[copy] += bool(copy)
        _count(found, row)
        draw = derive(seed, "inspect", row["id"])
        if row["kept"]:
            left[row["source"]].offer(draw, number)
        else:
            taken[row["stage"], row["reason"]].offer(draw, number)
    del copies[""]
    largest = dict(sorted(copies.items(), key=lambda pair: (-pair[1], pair[0]))[:CLUSTERS])
    numbers = {n for sample in [*taken.values(), *left.values()] for n in sample.numbers()}
    ids = {*largest, *wanted}
    members: dict[str, list[Row]] = defaultdict(list)
    shown: dict[int, Row] = {}
    for number, row in _chosen(path, numbers, ids):
        if number in numbers:
            shown[number] = row
        if row["id"] in ids:
            found.by_id[row["id"]] = row
        if (copy := original(row)) in largest and len(members[copy]) < MEMBERS:
            members[copy].append(row)
    found.removed = {key: [shown[n] for n in one.numbers()] for key, one in taken.items()}
    found.survivors = {key: [shown[n] for n in one.numbers()] for key, one in left.items()}
    found.clusters = [(n, found.by_id.get(id_), members[id_]) for id_, n in largest.items()]
    _fetch_heads(folder, [*shown.values(), *found.by_id.values()])
    return found


def _count(found: Decisions, row: Row) -> None:
    piece = bool(_PIECE.fullmatch(row["id"]))
    if piece and row["kept"]:  # the document that it was cut from is counted as removed
        found.pieces.setdefault(row["source"], Amount()).add(row["characters"])
    if row["kept"]:
        found.kept.setdefault(row["source"], Amount()).add(row["characters"])
        found.after.add(row, row["characters"], quality=row.get("quality"))
    else:
        by_source = found.lost.setdefault((row["stage"], row["reason"]), {})
        by_source.setdefault(row["source"], Amount()).add(row["characters"])
    if not piece and row["stage"] not in UNREAD:
        near = row["stage"] == "near copy"
        found.before.add(row, row["characters"], quality=row.get("quality"), near_copy=near)


def _fetch_heads(folder: Path, rows: list[Row]) -> None:
    """Read the heads of kept documents from their texts where the decisions hold none."""
    import pyarrow.parquet as pq

    bare = {row["id"]: row for row in rows if row["kept"] and not row["head"]}
    for path in sorted((folder / "documents").glob("*.parquet")) if bare else ():
        for batch in pq.ParquetFile(path).iter_batches(1024, columns=["id", "text"]):
            for i, id_ in enumerate(batch.column(0).to_pylist()):
                if id_ in bare:
                    bare[id_]["head"] = batch.column(1)[i].as_py()[:HEAD]
    for row in rows:
        if row["kept"] and row["id"] in bare:
            row["head"] = bare[row["id"]]["head"]
