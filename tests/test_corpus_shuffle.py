"""Tables that go from parts to buckets and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from regrow.corpus.engine import Here
from regrow.corpus.parts import ROW_BITS, Store, write_table
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
