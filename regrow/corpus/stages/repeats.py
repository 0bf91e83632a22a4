"""Lines and passages that other documents hold already, cut out of all but the first.

Lines are compared whole; passages by every run of so many words, so that any longer repetition is
found from its first word to its last (Lee et al. 2022, sec. 4.1, by hashes in place of a suffix
array: 16 bytes a word on disk, sorted in buckets of bounded size).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from regrow.corpus.engine import Watch
from regrow.corpus.grams import gram_hashes, hash_words, sequence_hashes, word_spans
from regrow.corpus.parts import GROUP_ROWS, once, read_between, write_pages, write_table
from regrow.corpus.settings import RepeatSettings
from regrow.corpus.stages.job import Bucket, Job, Pipeline, buckets
from regrow.corpus.stages.shuffle import gather, lay_out

BUCKET_UNITS = 1 << 20  # lines or runs that one task compares
_UNIT = ("hash", "number", "start", "stop")
_LINE = re.compile(r"[^\n]+")


def line_units(text: str, settings: RepeatSettings) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the long lines of a text, and where they stand: [lines], [lines, 2] characters."""
    spans = [m.span() for m in _LINE.finditer(text) if len(m[0].strip()) >= settings.line]
    words = hash_words(text[start:stop] for start, stop in spans)
    full = np.diff(words.offsets) > 0
    return sequence_hashes(words), np.asarray(spans, np.int64).reshape(-1, 2)[full]


def passage_units(text: str, settings: RepeatSettings) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of all runs of `passage` words, and where they stand: [runs], [runs, 2] words."""
    hashes = gram_hashes(hash_words([text]).hashes, settings.passage)
    starts = np.arange(len(hashes))
    return hashes, np.stack([starts, starts + settings.passage], 1)


UNITS = {"repeated lines": line_units, "repeated passages": passage_units}


def units_part(job: Job, stage: str, part: str, watch: Watch) -> int:
    """A table of the units of the kept texts of a part; tells how many."""

    def make(path: Path) -> int:
        first = job.store.first(part)
        found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for number, page in enumerate(job.store.load(part), first):
            if not page.reason:
                hashes, spans = UNITS[stage](page.text, job.settings.repeats)
                found.append((hashes, np.full(len(hashes), number), spans))
        none = (np.empty(0, np.uint64), np.empty(0, np.int64), np.empty((0, 2), np.int64))
        hashes, numbers, spans = (np.concatenate(own) for own in zip(none, *found))
        order = np.argsort(hashes, kind="stable")
        values = (hashes[order], numbers[order], *spans[order].T)
        write_table(path, dict(zip(_UNIT, values)), GROUP_ROWS)
        return len(hashes)

    told: int = once(job.store.path(f"{stage}-units", part), make)
    return told


def _units_of(job: Job, stage: str, bucket: Bucket) -> Iterator[np.ndarray]:
    for path in job.store.files(f"{stage}-runs"):
        table = read_between(path, "hash", *bucket.between(64))
        yield np.stack([table[name].to_numpy().astype(np.int64) for name in _UNIT])


def repeats_bucket(job: Job, stage: str, bucket: Bucket, watch: Watch) -> int:
    """Which units of a bucket stand in an earlier place; tells how many."""
    least = job.settings.repeats.documents if stage == "repeated lines" else 1

    def make(path: Path) -> int:
        hashes, numbers, starts, stops = np.concatenate(
            [np.empty((4, 0), np.int64), *_units_of(job, stage, bucket)], 1
        )
        order = np.lexsort((starts, numbers, hashes))
        hashes, numbers = hashes[order], numbers[order]
        new = np.concatenate([[True], hashes[1:] != hashes[:-1]])[: len(hashes)]
        group = np.cumsum(new) - 1
        other = new | np.concatenate([[True], numbers[1:] != numbers[:-1]])[: len(hashes)]
        documents = np.bincount(group, weights=other)
        repeated = np.flatnonzero(~new & (documents[group] >= least))
        by_number = repeated[np.argsort(numbers[repeated], kind="stable")]
        found = order[by_number]
        write_table(
            path,
            {"number": numbers[by_number], "start": starts[found], "stop": stops[found]},
            GROUP_ROWS,
        )
        return len(found)

    told: int = once(job.store.path(f"{stage}-found", f"{bucket.number:05d}"), make)
    return told


def joined(spans: np.ndarray) -> list[tuple[int, int]]:
    """Spans in order, those that touch made one."""
    out: list[tuple[int, int]] = []
    for start, stop in sorted(map(tuple, spans.tolist())):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(stop, out[-1][1]))
        else:
            out.append((start, stop))
    return out


def cut_part(job: Job, stage: str, part: str, watch: Watch) -> int:
    """Cut what is repeated out of the texts of a part; tells how many characters went."""

    def make(path: Path) -> int:
        pages, first = job.store.load(part), job.store.first(part)
        spans: dict[int, list[tuple[int, int]]] = {}
        for row in job.store.rows(f"{stage}-cuts", part):
            spans.setdefault(row["number"], []).append((row["start"], row["stop"]))
        gone = 0
        for number, own in spans.items():
            page = pages[number - first]
            cuts = joined(np.asarray(own))
            if stage == "repeated passages":
                words = word_spans(page.text)
                cuts = [(words[start][0], words[stop - 1][1]) for start, stop in cuts]
            left, position = [], 0
            for start, stop in cuts:
                left.append(page.text[position:start])
                position = stop
            text = "".join([*left, page.text[position:]]).strip()
            gone += len(page.text) - len(text)
            if len(text) < job.settings.repeats.rest * len(page.text):
                page.reason = f"{stage}: hardly anything else"
            else:
                page.text = text
                page.characters, page.head = len(text), text[: len(page.head)]
        write_pages(path, pages)
        return gone

    told: int = once(job.store.path(stage, part), make)
    return told


def drop_repeats(pipeline: Pipeline, stage: str) -> None:
    """Cut repeated lines or passages out of the documents."""
    job = pipeline.job
    units = sum(pipeline.map(partial(units_part, job, stage), job.store.parts))
    gather(pipeline, f"{stage}-units", f"{stage}-runs", "hash")
    shares = buckets(units, BUCKET_UNITS)
    found = sum(pipeline.map(partial(repeats_bucket, job, stage), shares))
    lay_out(pipeline, f"{stage}-found", "number", f"{stage}-cuts")
    gone = sum(pipeline.map(partial(cut_part, job, stage), job.store.parts))
    pipeline.store = job.store.rewritten(stage)
    pipeline.notes[stage.replace(" ", "_")] = {"units": units, "cut": found, "characters": gone}
