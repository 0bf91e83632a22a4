"""Tables of many parts brought to the tasks that compare them, and what those found back again.

If every bucket read a file of every part, and every part one of every bucket, twice the documents
would take four times the reading. So the tables of neighbouring parts, a run, are put together
first, and what the buckets found is laid out by part, a run at a time.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from regrow.corpus.engine import Watch
from regrow.corpus.parts import ROW_BITS, Growing, once, read_between, write_table
from regrow.corpus.stages.job import Job, Pipeline

RUN = 64  # parts
GROUP_BYTES = 1 << 20  # of a run's table: workers write it, who have less room than the parent


def _gather(job: Job, stage: str, to: str, first: int, watch: Watch) -> None:
    import pyarrow.parquet as pq

    def make(path: Path) -> None:
        table = Growing(path, compression="lz4", group=GROUP_BYTES)
        parts = job.store.parts[first : first + RUN]
        read = (pq.ParquetFile(job.store.path(stage, part)).read() for part in parts)
        empty = None
        for rows in read:
            if len(rows):
                table.add(rows)
            else:
                empty = rows  # its columns may have no types
        table.close()
        if not path.exists():
            pq.write_table(empty, path)

    once(job.store.path(to, job.store.parts[first]), make)


def gather(pipeline: Pipeline, stage: str, to: str) -> None:
    """Put the tables that a stage left for each part together as `to`, one for each run."""
    firsts = range(0, len(pipeline.store.parts), RUN)
    pipeline.map(partial(_gather, pipeline.job, stage, to), firsts)


def _lay_out(job: Job, found: str, column: str, to: str, first: int, watch: Watch) -> None:
    import pyarrow as pa

    store, parts = job.store, job.store.parts[first : first + RUN]
    low = store.first(parts[0])

    def make(*paths: Path) -> None:
        high = low + (len(parts) << ROW_BITS)
        files = store.files(found)
        found_here = (read_between(path, column, low, high) for path in files)
        rows = pa.concat_tables(found_here, promote_options="default").sort_by(column)
        of = rows[column].to_numpy().astype(np.int64) >> ROW_BITS  # an empty column has no type
        starts = of.searchsorted(range(first, first + len(parts) + 1))
        for path, start, stop in zip(paths, starts, starts[1:]):
            own = rows.slice(start, stop - start)
            write_table(path, dict(zip(own.column_names, own.columns)))

    target, *beside = (store.path(to, part) for part in parts)
    once(target, make, *beside)


def lay_out(pipeline: Pipeline, found: str, column: str, to: str) -> None:
    """Lay what the buckets of a stage found about documents, numbered by `column`, out as `to`: a
    table for each part."""
    firsts = range(0, len(pipeline.store.parts), RUN)
    pipeline.map(partial(_lay_out, pipeline.job, found, column, to), firsts)
