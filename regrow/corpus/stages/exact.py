"""Exact copies: the first of the texts with the same words survives."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from regrow.corpus.deduplicate import digest_of
from regrow.corpus.engine import Watch
from regrow.corpus.parts import once, write_table
from regrow.corpus.stages.job import Bucket, Job, Pipeline, buckets
from regrow.corpus.stages.shuffle import gather, lay_out

BUCKET_DOCUMENTS = 1 << 18  # documents compared by one task


def digest_part(job: Job, part: str, watch: Watch) -> int:
    """The digests of the kept texts of a part; tells how many."""

    def make(path: Path) -> int:
        first = job.store.first(part)
        kept = [(n, page) for n, page in enumerate(job.store.load(part), first) if not page.reason]
        digests = np.asarray([digest_of(page.text) for _, page in kept], "<u8").reshape(-1, 2)
        write_table(
            path,
            {
                "number": [number for number, _ in kept],
                "id": [page.id for _, page in kept],
                "high": digests[:, 0],
                "low": digests[:, 1],
            },
        )
        return len(kept)

    told: int = once(job.store.path("digests", part), make)
    return told


def copies_bucket(job: Job, bucket: Bucket, watch: Watch) -> int:
    """Verdicts on the texts of one bucket of digests; tells how many copies there are."""

    def make(path: Path) -> int:
        names = ("high", "low", "number", "id")
        high, low, numbers, ids = bucket.columns(job.store.files("digests-runs"), names)
        order = np.lexsort((numbers, low, high))
        same = (high[order][1:] == high[order][:-1]) & (low[order][1:] == low[order][:-1])
        starts = np.concatenate([[True], ~same]) if len(order) else np.empty(0, bool)
        firsts = order[np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))]
        copies, originals = order[~starts], firsts[~starts]
        by_number = np.argsort(numbers[copies])
        copies, originals = copies[by_number], originals[by_number]
        write_table(
            path,
            {
                "number": numbers[copies],
                "reason": ["exact copy: of another"] * len(copies),
                "detail": ids[originals].tolist(),
            },
        )
        return len(copies)

    told: int = once(job.store.path("exact-copy-found", f"{bucket.number:05d}"), make)
    return told


def drop_exact(pipeline: Pipeline) -> None:
    """Remove copies that differ in white space at most."""
    documents = sum(pipeline.map(partial(digest_part, pipeline.job), pipeline.store.parts))
    gather(pipeline, "digests", "digests-runs")
    shares = buckets(documents, BUCKET_DOCUMENTS)
    pipeline.map(partial(copies_bucket, pipeline.job), shares)
    lay_out(pipeline, "exact-copy-found", "number", "exact-copy")
    pipeline.store = pipeline.store.judged("exact-copy")
