"""How well a messy crawl is cleaned: every decision against a known truth, with a bar for each row.

    python benchmarks/crawl.py FOLDER [--threshold 0.5] [--reference PATH ...] [--misses 5]

FOLDER holds crawl.warc.gz, truth.jsonl.gz (a row for every response: its kind, whether a sensible
filter keeps it, what it copies) and main_text_sample.jsonl.gz. Evaluation sets that the truth names
are looked for beside FOLDER. The crawl is built a second time without near-duplicate removal, so
that the text of removed pages is known: each removal is checked by exact Jaccard, and extraction
and encodings are judged on copies too.
"""

from __future__ import annotations

import argparse
import difflib
import json
import math
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from truth import Built, Figure, Row, copies, grams, lost_pages, rate, removed, without_twin

from regrow.corpus.build import build
from regrow.corpus.settings import CorpusSettings
from regrow.files import read_jsonl
from regrow.records import Item

MASKING = ("personal", "privacy", "pii", "scrub", "mask")  # settings that may offer it


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


def masked() -> tuple[str, Callable[[str], str]]:
    """How personal data is masked: by the build, by the function alone, or not at all."""
    if any(key in CorpusSettings.model_fields for key in MASKING):
        return "by the build", lambda text: text
    try:
        from regrow.corpus.pii import mask_pii
    except ImportError:
        return "", lambda text: text
    return "by mask_pii", lambda text: mask_pii(text)[0]


def personal(truth: Sequence[Row], built: Built) -> Iterator[Figure]:
    """Injected personal data gone from the pages that are kept, by kind."""
    how, mask = masked()
    if not how:
        yield Figure("personal data masked: not offered", math.nan, 0, ">= 0.95")
        return
    found: dict[str, list[bool]] = defaultdict(list)
    misses = []
    for row in truth:
        for kind, value in row.get("pii", {}).items():
            if row["record_id"] in built.texts:
                found[kind].append(value not in mask(built.texts[row["record_id"]]))
                misses += [] if found[kind][-1] else [f"{kind} {value!r} {row['url']}"]
    every = [ok for kind, values in found.items() if kind != "name" for ok in values]
    yield rate(f"personal data masked {how}, no names", every, ">= 0.95", misses)
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


def figures(
    truth: Sequence[Row], sample: Sequence[Row], built: Built, whole: Built, threshold: float
) -> Iterator[Figure]:
    """All rows of the table."""

    def of(*kinds: str) -> list[Row]:
        return [row for row in truth if row["kind"] in kinds]

    yield from copies(truth, built, threshold)
    yield without_twin(truth, built, whole, threshold)
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
    yield from personal(truth, built)
    yield from contamination(truth, built)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threshold", type=float, default=0.5, help="Jaccard of near-duplicates")
    parser.add_argument("--reference", nargs="*", type=Path, default=[], help="trusted text")
    parser.add_argument("--settings", type=json.loads, default={}, help="more settings, as JSON")
    parser.add_argument("--misses", type=int, default=0, help="pages to list under each miss")
    options = parser.parse_args()
    truth = list(read_jsonl(options.folder / "truth.jsonl.gz"))
    sample = list(read_jsonl(options.folder / "main_text_sample.jsonl.gz"))
    items, used = benchmark_items(truth, options.folder.parent)
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

    cleaned = built(options.settings, items)
    whole = built(
        options.settings | {"deduplicate": {"threshold": 1.0}, "quality": {"sources": []}}, []
    )
    print(f"{len(truth)} pages; near-duplicates at J >= {options.threshold}; items from {used}\n")
    print(f"{'':44}{'measured':>9}{'n':>6}  {'bar':9}")
    for row in figures(truth, sample, cleaned, whole, options.threshold):
        print(f"{row.name:44}{row.value:9.3f}{row.n:6}  {row.bar:9}{row.verdict()}")
        for miss in row.misses[: options.misses] if row.verdict() == "MISSED" else ():
            print(f"      {miss}")
        if options.misses and row.verdict() == "MISSED" and len(row.misses) > options.misses:
            print(f"      ... and {len(row.misses) - options.misses} more")


if __name__ == "__main__":
    main()
