"""Near-duplicates: bands propose pairs, exact likeness decides, one of each cluster survives.

Steps, each over files: keys and gram sets of every part; pairs of every band; likeness of the pairs
of every part; what hangs together; clusters. All that is ever held of the whole are two numbers of
each document that has a near-copy.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from regrow.corpus.deduplicate import (
    band_keys,
    bands_for,
    clusters,
    components,
    jaccard,
    pairs_of_band,
    signatures,
)
from regrow.corpus.engine import Watch
from regrow.corpus.grams import gram_sets, hash_words
from regrow.corpus.parts import (
    ROW_BITS,
    Store,
    columns,
    once,
    write_table,
)
from regrow.corpus.stages.job import Bucket, Job, Pipeline, buckets
from regrow.corpus.stages.shuffle import RUN, gather, lay_out

BUCKET_DOCUMENTS = 1 << 18  # documents whose keys of a band one task compares
BUCKET_COPIES = 1 << 16  # documents whose clusters one task tells: their ids are held as text
LARGEST = 5  # clusters named in the report
OPEN_PARTS = 1 << 14  # parts whose gram sets a task has mapped; the system allows 65,530


def keys_part(job: Job, part: str, watch: Watch) -> int:
    """Band keys and gram sets of the kept texts of a part; tells how many there are."""
    settings = job.settings.deduplicate

    def make(path: Path, grams: Path) -> int:
        first = job.store.first(part)
        kept = [(n, page) for n, page in enumerate(job.store.load(part), first) if not page.reason]
        words = hash_words(page.text for _, page in kept)
        sets = gram_sets(words, settings.ngram)
        bands, rows = bands_for(settings.threshold, settings.hashes)
        keys = band_keys(signatures(sets, bands * rows), bands, rows)
        flat = np.concatenate(sets) if sets else np.empty(0, np.uint32)
        flat.tofile(grams)
        write_table(
            path,
            {
                "number": np.asarray([number for number, _ in kept], np.int64),
                "id": [page.id for _, page in kept],
                "quality": np.asarray([page.quality or 0.0 for _, page in kept], np.float32),
                "size": np.asarray(list(map(len, sets)), np.int64),
                **{f"band{i}": keys[:, i] for i in range(bands)},
            },
        )
        return len(kept)

    told: int = once(job.store.path("near-keys", part), make, _grams(job.store, part))
    return told


def _grams(store: Store, part: str) -> Path:
    return store.path("near-grams", part).with_suffix(".u32")


def pairs_bands(job: Job, share: tuple[range, Bucket], watch: Watch) -> int:
    """The pairs (a, b), a < b, that share a key of one of these bands, in this bucket.

    Tells how many; a pair counts once for each band.
    """
    bands, bucket = share

    def make(path: Path) -> int:
        found = [np.empty((0, 2), np.int64)]
        for band in bands:
            names = (f"band{band}", "number", "size")
            keys, numbers, sizes = bucket.columns(job.store.files("near-keys-runs"), names)
            a, b = pairs_of_band(keys, sizes, job.settings.deduplicate.threshold)
            found.append(np.stack([numbers[a], numbers[b]], 1))
        pairs = np.unique(np.concatenate(found), axis=0)
        write_table(path, {"a": pairs[:, 0], "b": pairs[:, 1]})
        return sum(map(len, found))

    target = job.store.path("near-pairs", f"{bands.start:05d}-{bucket.number:05d}")
    told: int = once(target, make)
    return told


def index_run(job: Job, first: int, watch: Watch) -> None:
    """Where the gram sets of the documents of a run stand in the files of their parts: int64 [3,
    documents], number, first gram, grams."""

    def make(path: Path) -> None:
        found = [np.empty((3, 0), np.int64)]
        for part in job.store.parts[first : first + RUN]:
            numbers, sizes = columns([job.store.path("near-keys", part)], "number", "size")
            found.append(np.stack([numbers, np.cumsum(sizes) - sizes, sizes]).astype(np.int64))
        with open(path, "wb") as file:  # a name, np.save would change
            np.save(file, np.concatenate(found, 1))

    once(_index(job.store, first // RUN), make)


def _index(store: Store, run: int) -> Path:
    return store.path("near-index", f"{run:05d}").with_suffix(".npy")


class _Grams:
    """Gram sets of documents, mapped from the files of their parts as they are asked for: those of
    a pair may stand anywhere."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._index: dict[int, np.ndarray] = {}
        self._parts: dict[int, np.ndarray] = {}

    def of(self, number: int) -> np.ndarray:
        """The sorted gram hashes of one document: uint32 [grams]."""
        part = number >> ROW_BITS
        run = part // RUN
        if run not in self._index:
            self._index[run] = np.load(_index(self.store, run), mmap_mode="r").view(np.ndarray)
        numbers, starts, sizes = self._index[run]
        row = int(np.searchsorted(numbers, number))
        if not (size := int(sizes[row])):
            return np.empty(0, np.uint32)
        if part not in self._parts:
            if len(self._parts) >= OPEN_PARTS:
                del self._parts[next(iter(self._parts))]
            path = _grams(self.store, self.store.parts[part])
            self._parts[part] = np.memmap(path, "<u4", "r").view(np.ndarray)
        start = int(starts[row])
        return self._parts[part][start : start + size]


def _grams_of(store: Store) -> _Grams:
    """The same for all tasks of a process: mapping thousands of files takes as long as a task."""
    state = _index(store, 0).stat()
    return _grams_as(store, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=1)
def _grams_as(store: Store, *state: int) -> _Grams:
    return _Grams(store)


def edges_part(job: Job, part: str, watch: Watch) -> int:
    """The pairs whose first document is in this part and that are alike enough; tells how many."""

    def make(path: Path) -> int:
        a, b = columns([job.store.path("near-pairs-of", part)], "a", "b")
        pairs = np.unique(np.stack([a, b], 1), axis=0)
        grams, likeness = _grams_of(job.store), np.empty(len(pairs))
        before, own = -1, np.empty(0, np.uint32)
        for i, (one, other) in enumerate(pairs.tolist()):
            if one != before:
                before, own = one, grams.of(one)
            likeness[i] = jaccard(own, grams.of(other))
        alike = likeness >= job.settings.deduplicate.threshold
        write_table(path, {"a": pairs[alike, 0], "b": pairs[alike, 1], "likeness": likeness[alike]})
        return int(alike.sum())

    told: int = once(job.store.path("near-edges", part), make)
    return told


def _known(keys: Sequence[Path], numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ids and qualities of some documents, without holding those of all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids, quality = [np.empty(0, object)], [np.empty(0, np.float32)]
    for path in keys:
        for batch in pq.ParquetFile(path).iter_batches(columns=["number", "id", "quality"]):
            own = batch.filter(pa.array(np.isin(batch["number"].to_numpy(), numbers)))
            ids.append(own["id"].to_numpy(zero_copy_only=False))
            quality.append(own["quality"].to_numpy())
    return np.concatenate(ids), np.concatenate(quality)


def _connected(store: Store) -> int:
    """Write which documents have near-copies, and what each hangs together with; tells how many."""
    edges = store.files("near-edges-runs")

    def make(numbers: Path, roots: Path) -> int:
        ends = [np.unique(np.concatenate(columns([path], "a", "b"))) for path in edges]
        concerned = np.unique(np.concatenate([np.empty(0, np.int64), *ends]))

        def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for path in edges:
                a, b = columns([path], "a", "b")
                yield np.searchsorted(concerned, a), np.searchsorted(concerned, b)

        root = components(len(concerned), pairs)
        for path, values in ((numbers, concerned), (roots, root)):
            with open(path, "wb") as file:  # a name, np.save would change
                np.save(file, values)
        return len(concerned)

    numbers, roots = _connection(store)
    told: int = once(numbers, make, roots)
    return told


def _connection(store: Store) -> tuple[Path, Path]:
    path = store.path("near-connected", "numbers").with_suffix(".npy")
    return path, path.with_name("roots.npy")


def _edges_of(store: Store, bucket: Bucket) -> tuple[np.ndarray, np.ndarray]:
    """The verified pairs of the documents of one bucket: what hangs together is in the same."""
    numbers, roots = (np.load(path, mmap_mode="r") for path in _connection(store))
    found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for path in store.files("near-edges-runs"):
        a, b = columns([path], "a", "b")
        mine = roots[np.searchsorted(numbers, a)] % bucket.count == bucket.number
        found.append((a[mine], b[mine]))
    a, b = (np.concatenate(ends) for ends in zip(*found))
    return a, b


def _largest(clusters: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    """(copies, id) of the largest clusters; of those alike the lowest ids."""
    return heapq.nsmallest(LARGEST, clusters, key=lambda one: (-one[0], one[1]))


def clusters_bucket(job: Job, bucket: Bucket, watch: Watch) -> dict[str, Any]:
    """Verdicts on the documents of one bucket; tells how many survive and the largest clusters."""
    store = job.store

    def make(path: Path) -> dict[str, Any]:
        a, b = _edges_of(store, bucket)
        concerned = np.unique(np.concatenate([a, b]))
        ids, quality = _known(store.files("near-keys-runs"), concerned)
        survivor = clusters(np.searchsorted(concerned, a), np.searchsorted(concerned, b), quality)
        grams = _grams_of(store)
        dropped = survivor != np.arange(len(concerned))
        likeness = [
            jaccard(grams.of(int(concerned[i])), grams.of(int(concerned[j]))) if out else 1.0
            for i, (j, out) in enumerate(zip(survivor, dropped))
        ]
        verdicts = {
            "number": concerned,
            "reason": ["near copy: of another" if out else None for out in dropped],
            "detail": [
                f"{ids[j]} {like:.3f}" if out else None
                for j, out, like in zip(survivor, dropped, likeness)
            ],
            "cluster": [ids[j] for j in survivor],
        }
        write_table(path, verdicts)
        sizes = Counter(str(ids[j]) for j in survivor)
        return {
            "survivors": int((~dropped).sum()),
            "removed": int(dropped.sum()),
            "largest": _largest((n - 1, id_) for id_, n in sizes.items()),
        }

    told: dict[str, Any] = once(store.path("near-copy-found", f"{bucket.number:05d}"), make)
    return told


def drop_near(pipeline: Pipeline) -> None:
    """Leave one of each cluster of near-copies."""
    job = pipeline.job
    store, settings = job.store, job.settings.deduplicate
    documents = sum(pipeline.map(partial(keys_part, job), store.parts))
    gather(pipeline, "near-keys", "near-keys-runs")
    pipeline.map(partial(index_run, job), range(0, len(store.parts), RUN))
    bands, _ = bands_for(settings.threshold, settings.hashes)
    together = max(1, BUCKET_DOCUMENTS // max(1, documents))  # bands that one task looks at
    groups = [range(i, min(bands, i + together)) for i in range(0, bands, together)]
    shares = list(product(groups, buckets(documents, BUCKET_DOCUMENTS)))
    candidates = sum(pipeline.map(partial(pairs_bands, job), shares))
    lay_out(pipeline, "near-pairs", "a", "near-pairs-of")
    verified = sum(pipeline.map(partial(edges_part, job), store.parts))
    gather(pipeline, "near-edges", "near-edges-runs")
    concerned = _connected(store)
    told = pipeline.map(partial(clusters_bucket, job), buckets(concerned, BUCKET_COPIES))
    lay_out(pipeline, "near-copy-found", "number", "near-copy")
    pipeline.store = store.judged("near-copy")
    largest = _largest((n, id_) for own in told for n, id_ in own["largest"])
    pipeline.notes["near_copies"] = {
        "candidate_pairs": candidates,
        "verified_pairs": verified,
        "survivors": sum(one["survivors"] for one in told),
        "removed": sum(one["removed"] for one in told),
        "largest": {id_: n for n, id_ in largest},
    }
