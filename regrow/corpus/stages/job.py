"""What every stage is given, and how it runs its tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from regrow.corpus.engine import Engine
from regrow.corpus.parts import Store
from regrow.corpus.settings import CorpusSettings


@dataclass(frozen=True)
class Job:
    """What a task needs to know; sent to workers."""

    store: Store
    settings: CorpusSettings


@dataclass(frozen=True)
class Bucket:
    """The share of some hashes that one task compares: those with this rest after division, or in
    tables sorted by them those in this range."""

    number: int
    count: int

    def between(self, bits: int) -> tuple[int, int | None]:
        """The share in equal ranges of hashes of so many bits: [low, high), None at the end."""
        low, high = ((self.number + i << bits) // self.count for i in (0, 1))
        return low, high if self.number + 1 < self.count else None

    def columns(self, paths: Iterable[Path], names: Sequence[str]) -> list[np.ndarray]:
        """Columns of many tables where the first of them, a hash, is of this bucket."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        found = []
        for path in paths:
            for batch in pq.ParquetFile(path).iter_batches(columns=list(names)):
                mine = batch[names[0]].to_numpy() % np.uint64(self.count) == self.number
                own = batch.filter(pa.array(mine))
                found.append([own[name].to_numpy(zero_copy_only=False) for name in names])
        none = [np.empty(0, np.uint64)] * len(names)
        return [np.concatenate(values) for values in zip(*found)] if found else none


def buckets(rows: int, most: int) -> list[Bucket]:
    """As many buckets as leave each with about `most` of the rows."""
    count = 1 + rows // most
    return [Bucket(number, count) for number in range(count)]


@dataclass
class Pipeline:
    """The job so far, who runs its tasks, and what the report needs of the stages."""

    job: Job
    engine: Engine
    say: Callable[[float], None] = lambda share: None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        """Where the pages stand now."""
        return self.job.store

    @store.setter
    def store(self, store: Store) -> None:
        self.job = replace(self.job, store=store)

    def map(self, work: Callable[..., Any], tasks: Sequence[Any]) -> list[Any]:
        """`work(task, watch)` on every task; progress is told as a share of them."""
        return self.engine.map(work, tasks, lambda done: self.say(done / max(1, len(tasks))))
