"""Tables of many parts brought to the tasks that compare them, and what those found back again.

If every bucket read a file of every part, and every part one of every bucket, twice the documents
would take four times the reading. So the tables of neighbouring parts, a run, are put together
first, and what the buckets found is laid out by part, a run at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from regrow.corpus.engine import Watch
from regrow.corpus.parts import ROW_BITS, Growing, once, read_between, write_table
from regrow.corpus.stages.job import Job, Pipeline

RUN = 64  # parts
GROUP_BYTES = 1 << 20  # of a run's table: workers write it, who have less room than the parent
SORTED_ROWS = 1 << 17  # rows of a run that are put in order at once


def _gather(job: Job, stage: str, to: str, by: str, first: int, watch: Watch) -> None:
    import pyarrow.parquet as pq

    def make(path: Path) -> None:
        parts = job.store.parts[first : first + RUN]
        files = [pq.ParquetFile(job.store.path(stage, part)) for part in parts]
        full = [file for file in files if file.metadata.num_rows]
        if not full:  # columns without rows may have no types
            pq.write_table(files[0].read(), path)
            return
        table = Growing(path, compression="lz4", group=GROUP_BYTES)
        for rows in _sorted(full, by) if by else (file.read() for file in full):
            table.add(rows)
        table.close()

    once(job.store.path(to, job.store.parts[first]), make)


def _sorted(files: Sequence[Any], by: str) -> Iterator[Any]:
    """The rows of files that are sorted by a column in its order, a range at a time."""
    import pyarrow as pa

    place = files[0].schema_arrow.get_field_index(by)
    groups = [
        file.metadata.row_group(n) for file in files for n in range(file.metadata.num_row_groups)
    ]
    cuts: list[Any] = []
    held = 0
    for start, rows in sorted((g.column(place).statistics.min, g.num_rows) for g in groups):
        if not cuts or (held >= SORTED_ROWS and start > cuts[-1]):
            cuts.append(start)
            held = 0
        held += rows
    for low, high in pairwise([*cuts, None]):
        found = [read_between(file, by, low, high) for file in files]
        yield pa.concat_tables(found).sort_by(by)


def gather(pipeline: Pipeline, stage: str, to: str, by: str = "") -> None:
    """Put the tables that a stage left for each part together as `to`, one for each run; where each
    is sorted `by` a column, so is the run."""
    firsts = range(0, len(pipeline.store.parts), RUN)
    pipeline.map(partial(_gather, pipeline.job, stage, to, by), firsts)


def _lay_out(job: Job, found: str, column: str, to: str, first: int, watch: Watch) -> None:
    import pyarrow as pa

    store, parts = job.store, job.store.parts[first : first + RUN]
    low = store.first(parts[0])

    def make(*paths: Path) -> None:
        bounds = low + (np.arange(len(parts) + 1) << ROW_BITS)
        high = int(bounds[-1])
        held = [read_between(file, column, low, high) for file in store.files(found)]
        edges = [rows[column].to_numpy().astype(np.int64).searchsorted(bounds) for rows in held]
        none = pa.concat_tables([rows.slice(0, 0) for rows in held], promote_options="default")
        for n, path in enumerate(paths):  # each by itself: together they would be held three times
            own = [rows.slice(at[n], at[n + 1] - at[n]) for rows, at in zip(held, edges)]
            table = pa.concat_tables([none, *filter(len, own)], promote_options="default")
            table = table.sort_by(column)
            write_table(path, dict(zip(table.column_names, table.columns)))

    target, *beside = (store.path(to, part) for part in parts)
    once(target, make, *beside)


def lay_out(pipeline: Pipeline, found: str, column: str, to: str) -> None:
    """Lay what the buckets of a stage found about documents, numbered by `column`, out as `to`: a
    table for each part."""
    firsts = range(0, len(pipeline.store.parts), RUN)
    pipeline.map(partial(_lay_out, pipeline.job, found, column, to), firsts)
