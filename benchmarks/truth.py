"""Decisions of a build against a known truth: copies, junk and good pages lost.

Truth and decisions meet by WARC record id. A figure is a share with its count, its bar and the
pages that missed.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

Row = dict[str, Any]


@dataclass
class Figure:
    """One row of the table: a share that should be `bar` or more (or less), and what missed."""

    name: str
    value: float
    n: int
    bar: str = ""
    misses: list[str] = field(default_factory=list)

    def verdict(self) -> str:
        if not self.bar or math.isnan(self.value):
            return ""
        sign, limit = self.bar.split()
        met = self.value >= float(limit) if sign == ">=" else self.value <= float(limit)
        return "met" if met else "MISSED"


@dataclass
class Built:
    """What a build left on disk, by WARC record id."""

    decisions: dict[str, Row]
    texts: dict[str, str]  # of what is kept, pieces of one page joined
    survivors: dict[str, str]  # by id of a copy, that of what it is a copy of

    @staticmethod
    def read(folder: Path) -> Built:
        rows = pq.read_table(folder / "decisions.parquet").to_pylist()
        documents = {
            row["id"]: row["text"]
            for file in sorted((folder / "documents").glob("*.parquet"))
            for row in pq.read_table(file, columns=["id", "text"]).to_pylist()
        }
        decisions: dict[str, Row] = {}
        texts: dict[str, str] = {}
        for row in rows:
            record = row.get("record_id") or row["location"]
            decisions.setdefault(record, row)
            if row["id"] in documents:
                texts[record] = "\n\n".join(
                    [*filter(None, [texts.get(record)]), documents[row["id"]]]
                )
        gone = [row for row in rows if row["survivor"] and row["survivor"] != row["id"]]
        survivors = {row["id"]: row["survivor"] for row in gone}
        return Built(decisions, texts, survivors)

    def stage(self, record: str) -> str:
        return self.decisions[record]["stage"] or "" if record in self.decisions else "not read"

    def survivor(self, record: str) -> str:
        """The id of the page that stands for this one: its own, or that of what it is a copy of."""
        found: str = self.decisions[record]["id"]
        while found in self.survivors:
            found = self.survivors[found]
        return found

    def why(self, row: Row) -> str:
        """A miss in words: what it is, where it went and its first line."""
        record = row["record_id"]
        found = self.decisions.get(record, {})
        gone = "kept" if record in self.texts else f"{self.stage(record)}: {found.get('reason')}"
        return f"{row['kind']:16} {row['url'][:64]:64} {gone} {found.get('detail') or ''}"


def copy(stage: str) -> bool:
    return "copy" in stage or "duplicate" in stage


def grams(text: str, n: int = 5) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}


def rate(name: str, good: Sequence[bool], bar: str, misses: Sequence[str] = ()) -> Figure:
    value = sum(good) / len(good) if good else math.nan
    return Figure(name, value, len(good), bar, list(misses))


def removed(name: str, rows: Sequence[Row], built: Built, bar: str = "") -> Figure:
    good = [row["record_id"] not in built.texts for row in rows]
    return rate(name, good, bar, [built.why(row) for row, ok in zip(rows, good) if not ok])


def copies(truth: Sequence[Row], built: Built, threshold: float) -> Iterator[Figure]:
    """Planted pairs of which not both survive, and clusters of which exactly one page does.

    Both pages of a cluster may also be copies of one other page, which was not planted.

    Pages that went for another reason before are no proof of either and not counted here.
    """
    near = [row for row in truth if row["kind"] == "near_dup"]
    exact = [row for row in truth if row["kind"] in ("exact_dup", "template_dup")]

    named = {row["record_id"]: row for row in truth}

    def reached(row: Row) -> bool:
        """Whether a page came as far as the removal of copies."""
        return row["record_id"] in built.texts or copy(built.stage(row["record_id"]))

    def recall(name: str, rows: Sequence[Row], bar: str) -> Figure:
        rows = [row for row in rows if reached(row) and reached(named[row["dup_of"]])]
        both = [row["record_id"] in built.texts and row["dup_of"] in built.texts for row in rows]
        misses = [built.why(row) for row, bad in zip(rows, both) if bad]
        return rate(name, [not bad for bad in both], bar, misses)

    exact_kinds = [
        [row for row in exact if row["kind"] == k] for k in ("exact_dup", "template_dup")
    ]
    yield recall("exact copies, same site template", exact_kinds[0], ">= 1.0")
    yield recall("exact copies, another template", exact_kinds[1], ">= 1.0")
    for name, low, high, bar in (
        ("near-duplicates, J >= .7", 0.7, 2.0, ">= 0.99"),
        ("near-duplicates, J .5-.7", 0.5, 0.7, ">= 0.95"),
    ):
        rows = [row for row in near if low <= row["jaccard_5gram"] < high]
        yield recall(name, rows, bar if low >= threshold else "")
    clusters: dict[str, list[Row]] = defaultdict(list)
    for row in [*exact, *near]:
        if row.get("jaccard_5gram", 1.0) >= threshold:
            clusters[row["dup_of"]].append(row)
    members = [[named[original], *rows] for original, rows in clusters.items()]
    before = [rows for rows in members if not any(map(reached, rows))]
    came = [rows for rows in members if rows not in before]
    left = [[r for r in rows if r["record_id"] in built.texts] for rows in came]
    misses = [built.why(row) for rows, kept in zip(came, left) if len(kept) != 1 for row in rows]
    name = f"clusters with one survivor ({len(before)} gone before)"
    yield rate(name, [len(kept) == 1 for kept in left], ">= 1.0", misses)
    standing = [{built.survivor(r["record_id"]) for r in rows if reached(r)} for rows in came]
    yield rate("  or that one other page stands for", [len(ids) == 1 for ids in standing], "")


def without_twin(truth: Sequence[Row], built: Built, whole: Built, threshold: float) -> Figure:
    """Pages removed as near-duplicates though no surviving page is as like them as the threshold.

    Exact Jaccard against every survivor, on the texts of a build that removed no near-duplicates.
    """
    rows = [row for row in truth if "near" in built.stage(row["record_id"])]
    sets = {record: grams(text) for record, text in whole.texts.items()}
    holders: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for record in set(built.texts) & set(sets):
        for gram in sets[record]:
            holders[gram].append(record)
    bad = []
    for row in rows:
        own = sets.get(row["record_id"], set())
        shared = Counter(record for gram in own for record in holders.get(gram, ()))
        best = max((n / (len(own) + len(sets[r]) - n) for r, n in shared.items()), default=0.0)
        if best < threshold:
            bad.append(f"{built.why(row)} (best exact J {best:.3f})")
    value = len(bad) / len(rows) if rows else math.nan
    return Figure("near-duplicates without a twin", value, len(rows), "<= 0.0", bad)


def lost_pages(truth: Sequence[Row], built: Built) -> Iterator[Figure]:
    """Good pages that went for another reason than being a copy, by kind."""
    good = [row for row in truth if row["keep"]]
    lost = [
        row
        for row in good
        if row["record_id"] not in built.texts and not copy(built.stage(row["record_id"]))
    ]
    why = [built.why(row) for row in lost]
    yield Figure("good pages lost", len(lost) / len(good), len(good), "<= 0.02", why)
    for kind, n in Counter(row["kind"] for row in good).items():
        share = sum(row["kind"] == kind for row in lost) / n
        yield Figure(f"  {kind}", share, n)
    gone = [copy(built.stage(row["record_id"])) for row in good]
    yield rate("  gone as a copy of another page", gone, "")
