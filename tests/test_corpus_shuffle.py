"""Tables that go from parts to buckets and back."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from corpus_kit import Here

from regrow.corpus.parts import ROW_BITS, Store, read_between, write_table
from regrow.corpus.settings import CorpusSettings
from regrow.corpus.stages import shuffle
from regrow.corpus.stages.job import Bucket, Job, Pipeline


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Five parts in runs of two; part k has k rows, so that one has none."""
    monkeypatch.setattr(shuffle, "RUN", 2)
    parts = tuple(f"part-{n}" for n in range(5))
    store = Store(tmp_path, parts)
    for n, part in enumerate(parts):
        path = store.path("keys", part)
        path.parent.mkdir(exist_ok=True)
        numbers = (n << ROW_BITS) + np.arange(n)
        write_table(path, {"hash": numbers.astype(np.uint64), "id": [f"{n}-{i}" for i in range(n)]})
    return Pipeline(Job(store, CorpusSettings()), Here())


def test_a_bucket_reads_a_file_for_each_run_and_finds_every_row_once(pipeline: Pipeline) -> None:
    shuffle.gather(pipeline, "keys", "keys-runs")
    files = pipeline.store.files("keys-runs")
    assert [path.stem for path in files] == ["part-0", "part-2", "part-4"]
    found = [
        id_ for number in range(3) for id_ in Bucket(number, 3).columns(files, ("hash", "id"))[1]
    ]
    assert sorted(found) == [f"{n}-{i}" for n in range(5) for i in range(n)]


def test_what_buckets_find_lies_beside_the_part_that_it_is_about(pipeline: Pipeline) -> None:
    store = pipeline.store
    (store.folder / "found").mkdir()
    verdicts = {
        "even": [(2 << ROW_BITS, "a"), (4 << ROW_BITS, None)],
        "odd": [((1 << ROW_BITS) + 0, None), ((4 << ROW_BITS) + 3, "b")],
        "none": [],
        "plain": [((4 << ROW_BITS) + 1, None)],  # a column of nothing has no type
    }
    for name, rows in verdicts.items():
        columns = {"number": [n for n, _ in rows], "reason": [why for _, why in rows]}
        write_table(store.path("found", name), columns)
    shuffle.lay_out(pipeline, "found", "number", "laid")
    laid = [[(row["number"] & 0xFF, row["reason"]) for row in store.rows("laid", part)]
            for part in store.parts]  # fmt: skip
    assert laid == [[], [(0, None)], [(0, "a")], [], [(0, None), (1, None), (3, "b")]]


def test_where_no_bucket_found_anything_every_part_has_no_rows(pipeline: Pipeline) -> None:
    store = pipeline.store
    (store.folder / "found").mkdir()
    write_table(store.path("found", "none"), {"number": [], "reason": []})
    shuffle.lay_out(pipeline, "found", "number", "laid")
    assert [store.rows("laid", part) for part in store.parts] == [[]] * 5


def test_a_sorted_run_is_read_by_ranges_that_hold_every_row_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shuffle, "SORTED_ROWS", 8)
    monkeypatch.setattr(shuffle, "GROUP_BYTES", 200)
    store, draw = pipeline.store, np.random.default_rng(0)
    (store.folder / "units").mkdir()
    every = []
    for part, rows in zip(store.parts, (40, 0, 25, 1, 0)):
        hashes = np.sort(draw.integers(0, 2**64, rows, np.uint64))
        hashes[1:4] = hashes[1:2]  # ties stay together wherever the ranges are cut
        every += np.sort(hashes).tolist()
        write_table(store.path("units", part), {"hash": np.sort(hashes)}, 4)
    shuffle.gather(pipeline, "units", "units-runs", "hash")
    files = store.files("units-runs")
    runs = [pq.read_table(path)["hash"].to_pylist() for path in files]
    assert runs == [sorted(run) for run in runs] and sorted(chain(*runs)) == sorted(every)
    assert pq.ParquetFile(files[0]).num_row_groups > 1
    found = [
        read_between(path, "hash", *Bucket(number, 3).between(64))["hash"].to_pylist()
        for number in range(3)
        for path in files
    ]
    assert sorted(chain(*found)) == sorted(every)
    assert max(map(len, found)) < len(every) / 2
