"""Stages that look at one page at a time: extract, then language, rules and masking in one pass."""

from __future__ import annotations

import pickle
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

from regrow.corpus.engine import Watch
from regrow.corpus.extract import drop_site_lines, edge_lines, extract, furniture
from regrow.corpus.grams import hash_words
from regrow.corpus.identify import identify, site_of, wrong_language
from regrow.corpus.page import Page
from regrow.corpus.parts import (
    GROUP_ROWS,
    Store,
    once,
    read_between,
    read_pages,
    write_pages,
    write_table,
)
from regrow.corpus.pii import mask_pii
from regrow.corpus.rules import broken_rule, drop_lines
from regrow.corpus.settings import CorpusSettings
from regrow.corpus.stages.job import Bucket, Job, Pipeline, buckets
from regrow.corpus.stages.shuffle import RUN, gather
from regrow.corpus.vocabulary import Vocabulary

HEAD = 400  # characters kept of every page, for people
BUCKET_ROWS = 1 << 18  # lines of sites that one task counts
LISTED = 1000  # hosts whose furniture is in the report


def _written(page: Page) -> None:
    """Note how long the text is and how it begins."""
    page.characters, page.head = len(page.text), page.text[:HEAD]


def extract_part(job: Job, part: str, watch: Watch) -> int:
    """Bodies to text, with a table of the lines at the edges of each host's pages; its length."""
    store = job.store

    def make(path: Path, edges: Path) -> int:
        pages = read_pages(store.path("raw", part))
        for page in watch.over(pages, "extract"):
            try:
                extract(page)
            except BaseException as error:  # whatever a parser raises costs this page only
                if isinstance(error, (KeyboardInterrupt, SystemExit)):
                    raise
                page.body, page.reason = None, "extract: parser error"
                page.detail = f"{type(error).__name__}: {error}"[:200]
        lines: Counter[tuple[str, str]] = Counter()
        for page in pages:
            page.domain = page.domain or site_of(page)
            _written(page)
            if not page.reason and "html" in page.content_type:
                lines.update((page.domain, line) for line in edge_lines(page.text))
                lines[page.domain, ""] += 1  # pages of the host
        _write_lines(edges, lines)
        write_pages(path, pages)
        return len(lines)

    found: int = once(store.path("extract", part), make, store.path("edges", part))
    return found


def _write_lines(path: Path, lines: Mapping[tuple[str, str], int]) -> None:
    """The lines in the order of their hosts' checksums, of which every task takes a range."""
    rows = sorted((crc32(host.encode()), host, line, n) for (host, line), n in lines.items())
    names = ("sum", "host", "line", "pages")
    write_table(path, {name: [row[i] for row in rows] for i, name in enumerate(names)}, GROUP_ROWS)


def furniture_bucket(job: Job, bucket: Bucket, watch: Watch) -> dict[str, list[str]]:
    """The furniture lines of the hosts of one bucket; hosts with none are left out."""
    hosts: dict[str, Counter[str]] = defaultdict(Counter)
    for path in job.store.files("edges-runs"):
        table = read_between(path, "sum", *bucket.between(32))
        for host, line, n in zip(*(table[name].to_pylist() for name in ("host", "line", "pages"))):
            hosts[host][line] += n
    found: dict[str, list[str]] = {}
    for host, lines in hosts.items():
        if own := furniture(lines, lines.pop("")):
            found[host] = sorted(own)
    rows = sorted((host, line) for host, own in found.items() for line in own)
    columns = {"host": [host for host, _ in rows], "line": [line for _, line in rows]}
    once(
        job.store.path("furniture", f"{bucket.number:05d}"), lambda path: write_table(path, columns)
    )
    return found


def furniture_run(job: Job, first: int, watch: Watch) -> None:
    """The furniture lines of the hosts of each part of a run, beside the part."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    parts, string = job.store.parts[first : first + RUN], pa.string()

    def of(table: Any, hosts: Any) -> Any:
        return table.filter(pc.is_in(table["host"].cast(string), hosts))

    def make(*paths: Path) -> None:
        edges = [job.store.path("edges", part) for part in parts]
        hosts = [
            pq.ParquetFile(path).read(["host"])["host"].cast(string).unique() for path in edges
        ]
        every = pa.chunked_array(hosts, string).unique()
        found = pa.concat_tables(
            [of(pq.ParquetFile(path).read(), every) for path in job.store.files("furniture")],
            promote_options="default",  # columns without rows may have no types
        )
        for path, own in zip(paths, hosts):
            table = of(found, own)
            write_table(path, dict(zip(table.column_names, table.columns)))

    target, *beside = (job.store.path("furniture-of", part) for part in parts)
    once(target, make, *beside)


def extract_all(pipeline: Pipeline) -> None:
    """Extract every part and find the furniture that hosts repeat."""
    rows = sum(pipeline.map(partial(extract_part, pipeline.job), pipeline.store.parts))
    pipeline.store = pipeline.store.rewritten("extract")
    gather(pipeline, "edges", "edges-runs", "sum")
    shares = buckets(rows, BUCKET_ROWS)
    told = pipeline.map(partial(furniture_bucket, pipeline.job), shares)
    pipeline.map(partial(furniture_run, pipeline.job), range(0, len(pipeline.store.parts), RUN))
    found = sorted(item for own in told for item in own.items())
    pipeline.notes["site_lines"] = {"hosts": len(found), "lines": dict(found[:LISTED])}


def _judge_language(page: Page, settings: CorpusSettings) -> None:
    page.reason = wrong_language(page, settings.languages)


def _judge_rules(page: Page, settings: CorpusSettings) -> None:
    rules = settings.rules
    if rules.sources is None or page.source in rules.sources:
        page.text = drop_lines(page.text, rules)
        broken = broken_rule(page.text, page.format, rules)
        page.reason = f"rules: {broken}" if broken else ""


def _mask(page: Page, settings: CorpusSettings) -> None:
    page.text, _ = mask_pii(page.text)


#: Stages on single pages, by name.
PAGE_STAGES: dict[str, Callable[[Page, CorpusSettings], None]] = {
    "language": _judge_language,
    "rules": _judge_rules,
    "personal data": _mask,
}


def judge_part(job: Job, names: tuple[str, ...], target: str, part: str, watch: Watch) -> int:
    """Run page stages on the kept pages of a part, in one pass; tells how many were left out."""

    first = job.store.texts == "extract"

    def make(path: Path, *vocabulary: Path) -> int:
        pages = job.store.load(part)
        lines = _furniture_of(job.store, part) if first else {}
        kept = [page for page in pages if not page.reason]
        for page in kept:
            if "html" in page.content_type and page.domain in lines:
                drop_site_lines(page, lines[page.domain])
        identified = [page for page in kept if not page.reason]
        identify(identified)
        texts: dict[str, list[str]] = {}
        for page in identified:
            texts.setdefault(page.source, []).append(page.text)
        for page in watch.over(identified, names[-1] if names else "extract"):
            for name in names:
                if not page.reason:
                    PAGE_STAGES[name](page, job.settings)
        for page in pages:
            if page.text:
                _written(page)
        write_pages(path, pages)
        if vocabulary:
            vocabulary[0].write_bytes(pickle.dumps(vocabularies(texts)))
        return sum(bool(page.reason) for page in kept)

    beside = [vocabulary_of(job.store, part)] if first else []
    left: int = once(job.store.path(target, part), make, *beside)
    return left


def vocabularies(texts: Mapping[str, Sequence[str]]) -> dict[str, Vocabulary]:
    """The words of each source, counted for all its texts at once."""
    found = {source: Vocabulary() for source in texts}
    for source, own in texts.items():
        found[source].add(hash_words(own).hashes)
    return found


def vocabulary_of(store: Store, part: str) -> Path:
    """Where the first pass leaves the words of each source's pages, before any was left out."""
    return store.path("vocabulary", part).with_suffix(".pickle")


def _furniture_of(store: Store, part: str) -> dict[str, set[str]]:
    lines: dict[str, set[str]] = defaultdict(set)
    for row in store.rows("furniture-of", part):
        lines[row["host"]].add(row["line"])
    return lines


def judge_all(pipeline: Pipeline, names: tuple[str, ...]) -> None:
    """Run page stages on every part; they share one pass and one rewriting of the texts."""
    target = "+".join(name.replace(" ", "-") for name in names) or "identified"
    work = partial(judge_part, pipeline.job, names, target)
    pipeline.map(work, pipeline.store.parts)
    pipeline.store = pipeline.store.rewritten(target)
