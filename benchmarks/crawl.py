"""How well a messy crawl is cleaned: every decision against a known truth, with a bar for each row.

    python benchmarks/crawl.py FOLDER [--threshold 0.5] [--reference PATH ...] [--misses 5]

FOLDER holds crawl.warc.gz, truth.jsonl.gz (a row for every response: its kind, whether a sensible
filter keeps it, what it copies) and main_text_sample.jsonl.gz. Evaluation sets that the truth names
are looked for beside FOLDER. The crawl is built a second time without near-duplicate removal, so
that the text of removed pages is known and each removal can be checked by exact Jaccard.
"""

from __future__ import annotations

import argparse
import difflib
import math
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from regrow.corpus.build import build
from regrow.corpus.settings import CorpusSettings
from regrow.files import read_jsonl
from regrow.records import Item

Row = dict[str, Any]
MASKING = ("personal", "privacy", "pii", "scrub", "mask")  # settings that may offer it


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
        return Built(decisions, texts)

    def stage(self, record: str) -> str:
        return self.decisions[record]["stage"] or "" if record in self.decisions else "not read"

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


def likeness(a: set, b: set) -> float:
    return len(a & b) / len(a | b)


def rate(name: str, good: Sequence[bool], bar: str, misses: Sequence[str] = ()) -> Figure:
    value = sum(good) / len(good) if good else math.nan
    return Figure(name, value, len(good), bar, list(misses))


def removed(name: str, rows: Sequence[Row], built: Built, bar: str = "") -> Figure:
    good = [row["record_id"] not in built.texts for row in rows]
    return rate(name, good, bar, [built.why(row) for row, ok in zip(rows, good) if not ok])


def copies(truth: Sequence[Row], built: Built, threshold: float) -> Iterator[Figure]:
    """Planted pairs of which not both survive, and clusters of which exactly one page does.

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
    left = [[r for r in rows if r["record_id"] in built.texts] for rows in members]
    left = [kept for kept, rows in zip(left, members) if rows not in before]
    misses = [built.why(row) for kept in left if len(kept) != 1 for row in kept]
    name = f"clusters with one survivor ({len(before)} gone before)"
    yield rate(name, [len(kept) == 1 for kept in left], ">= 1.0", misses)


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


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


def extraction(sample: Sequence[Row], built: Built) -> Iterator[Figure]:
    """Main text of clean pages by bags of words; pages that went are not scored here."""
    scores = []
    for row in sample:
        if row["record_id"] in built.texts:
            got, wanted = words(built.texts[row["record_id"]]), words(row["main_text"])
            both = (got & wanted).total()
            p, r = both / max(1, got.total()), both / max(1, wanted.total())
            scores.append((2 * p * r / max(1e-9, p + r), p, r, row["url"]))
    n = len(scores)
    worst = [f"F1 {f:.3f} precision {p:.3f} recall {r:.3f} {u}" for f, p, r, u in sorted(scores)]
    yield Figure("main text, token F1", sum(s[0] for s in scores) / n, n, ">= 0.93", worst)
    yield Figure("  precision", sum(s[1] for s in scores) / n, n)
    yield Figure("  recall", sum(s[2] for s in scores) / n, n)


def encodings(truth: Sequence[Row], built: Built) -> Figure:
    """Head and tail of the text as the truth has them; mojibake is to be mended or removed."""

    def right(row: Row) -> bool:
        text = built.texts.get(row["record_id"])
        if text is None or row["encoding_kind"] == "mojibake":
            return not row["keep"] and (text is None or "Café" in text)
        got = " ".join(text.split())
        head, tail = (" ".join(row[key].split()) for key in ("main_head", "main_tail"))
        special = {c for c in head + tail if not c.isascii()}
        near = [
            difflib.SequenceMatcher(None, wanted, part, autojunk=False).ratio() >= 0.8
            for wanted, part in ((head, got[: len(head)]), (tail, got[-len(tail) :]))
        ]
        return all(near) and special <= set(got) and "\ufffd" not in got

    rows = [row for row in truth if row.get("encoding_kind")]
    good = [right(row) for row in rows]
    misses = [f"{r['encoding_kind']} {built.why(r)}" for r, ok in zip(rows, good) if not ok]
    return rate("encodings right", good, ">= 1.0", misses)


def personal(truth: Sequence[Row], built: Built, offered: bool) -> Iterator[Figure]:
    """Injected personal data gone from the pages that are kept, by kind."""
    if not offered:
        yield Figure("personal data masked: not offered by the settings", math.nan, 0, ">= 0.95")
        return
    found: dict[str, list[bool]] = defaultdict(list)
    misses = []
    for row in truth:
        for kind, value in row.get("pii", {}).items():
            if row["record_id"] in built.texts:
                found[kind].append(value not in built.texts[row["record_id"]])
                misses += [] if found[kind][-1] else [f"{kind} {value!r} {row['url']}"]
    every = [ok for kind, values in found.items() if kind != "name" for ok in values]
    yield rate("personal data masked (all but names)", every, ">= 0.95", misses)
    for kind, values in found.items():
        yield rate(f"  {kind}", values, "")


def benchmark_items(truth: Sequence[Row], data: Path) -> tuple[list[Item], str]:
    """All items of the sets that are quoted, or the quotations where a set is not at hand."""
    readers: dict[str, Callable[[Row], tuple[str, tuple[str, ...]]]] = {
        "mmlu": lambda row: (row["question"], tuple(row["choices"])),
        "svamp": lambda row: (f"{row['Body']} {row['Question']}", (str(row["Answer"]),)),
    }
    items: list[Item] = []
    used: list[str] = []
    for name in sorted({row["benchmark"] for row in truth if row.get("benchmark")}):
        path = data / name / "data.jsonl.gz"
        if path.is_file() and name in readers:
            parts = [readers[name](row) for row in read_jsonl(path)]
            used.append(f"{name}: {len(parts)} items of the set")
        else:
            parts = [(r["benchmark_text"], ()) for r in truth if r.get("benchmark") == name]
            used.append(f"{name}: the {len(parts)} quotations")
        items += [Item(f"{name}-{i}", name, name, "", q, a) for i, (q, a) in enumerate(parts)]
    return items, "; ".join(used)


def contamination(truth: Sequence[Row], built: Built) -> Iterator[Figure]:
    """Planted quotations found, and pages named that quote nothing."""
    rows = [row for row in truth if row["kind"] == "contaminated"]
    stages = [built.stage(row["record_id"]) for row in rows]
    reached = [row for row, stage in zip(rows, stages) if stage in ("", "contaminated")]
    good = [built.stage(row["record_id"]) == "contaminated" for row in reached]
    misses = [built.why(row) for row, ok in zip(reached, good) if not ok]
    yield rate(
        f"planted items found ({len(rows) - len(reached)} gone before)", good, ">= 1.0", misses
    )
    quoted = [
        grams(row["benchmark_text"], 8) & grams(built.texts.get(row["record_id"], ""), 8)
        for row in rows
    ]
    yield rate("  no 8 words of an item left", [not found for found in quoted], "")
    others = [row for row in truth if row["kind"] != "contaminated"]
    others = [row for row in others if built.stage(row["record_id"]) in ("", "contaminated")]
    bad = [row for row in others if built.stage(row["record_id"]) == "contaminated"]
    why = [built.why(row) for row in bad]
    yield Figure(
        "pages named that quote none", len(bad) / len(others), len(others), "<= 0.001", why
    )


def figures(truth: Sequence[Row], sample: Sequence[Row], built: Built, whole: Built, options: Any,
            masking: bool) -> Iterator[Figure]:  # fmt: skip
    """All rows of the table."""

    def of(*kinds: str) -> list[Row]:
        return [row for row in truth if row["kind"] in kinds]

    yield from copies(truth, built, options.threshold)
    yield without_twin(truth, built, whole, options.threshold)
    junk = ("spam", "seo_spam", "gibberish")
    yield removed("spam and gibberish removed", of(*junk), built, ">= 0.97")
    for kind in junk:
        yield removed(f"  {kind}", of(kind), built)
    for kind in ("boilerplate_only", "soft_404", "http_error", "redirect", "non_html"):
        yield removed(f"  {kind}", of(kind), built)
    yield from lost_pages(truth, built)
    yield removed("other languages removed", of("other_language"), built, ">= 0.95")
    yield encodings(truth, whole)
    yield from extraction(sample, whole)
    yield from personal(truth, built, masking)
    yield from contamination(truth, built)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threshold", type=float, default=0.5, help="Jaccard of near-duplicates")
    parser.add_argument("--reference", nargs="*", type=Path, default=[], help="trusted text")
    parser.add_argument("--misses", type=int, default=0, help="pages to list under each miss")
    options = parser.parse_args()
    truth = list(read_jsonl(options.folder / "truth.jsonl.gz"))
    sample = list(read_jsonl(options.folder / "main_text_sample.jsonl.gz"))
    items, used = benchmark_items(truth, options.folder.parent)
    mask = next((key for key in MASKING if key in CorpusSettings.model_fields), "")
    chosen: Row = {
        "jobs": 1,
        "languages": ["en"],
        "deduplicate": {"threshold": options.threshold},
        "quality": {"sources": ["crawl"] if options.reference else []},
        "tokenizer": {"vocabulary": 300, "characters": 10_000},
    }

    def built(changes: Row, items: Sequence[Item]) -> Built:
        settings = CorpusSettings.model_validate(chosen | changes)
        crawl = {"crawl": [options.folder / "crawl.warc.gz"]}
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "corpus"
            build(crawl, output, settings, items=items, reference=options.reference)
            return Built.read(output)

    masked = {mask: CorpusSettings.model_fields[mask].annotation is bool} if mask else {}
    cleaned = built(masked, items)
    whole = built({"deduplicate": {"threshold": 1.0}, "quality": {"sources": []}}, [])
    print(f"{len(truth)} pages; near-duplicates at J >= {options.threshold}; items from {used}\n")
    print(f"{'':44}{'measured':>9}{'n':>6}  {'bar':9}")
    for row in figures(truth, sample, cleaned, whole, options, bool(mask)):
        print(f"{row.name:44}{row.value:9.3f}{row.n:6}  {row.bar:9}{row.verdict()}")
        for miss in row.misses[: options.misses] if row.verdict() == "MISSED" else ():
            print(f"      {miss}")
        if options.misses and row.verdict() == "MISSED" and len(row.misses) > options.misses:
            print(f"      ... and {len(row.misses) - options.misses} more")


if __name__ == "__main__":
    main()
