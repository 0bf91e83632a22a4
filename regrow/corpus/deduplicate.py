"""Exact copies and near-duplicates: MinHash bands propose, exact Jaccard decides.

A document goes only if its own n-gram set is at least `threshold` like that of one survivor, so
no chain of small likenesses can wipe out a source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from regrow.corpus.grams import Words, gram_sets, mix
from regrow.corpus.settings import DeduplicateSettings
from regrow.seeds import rng

BLOCK = 1 << 20  # n-grams hashed at a time
MOST_CANDIDATES = 64  # survivors compared with one document


def exact_copies(texts: Sequence[str]) -> list[int]:
    """For each text the index of the first with the same words in the same case, or -1 if first."""
    first: dict[bytes, int] = {}
    found = []
    for i, text in enumerate(texts):
        joined = " ".join(text.split())
        digest = hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        original = first.setdefault(digest, i)
        found.append(-1 if original == i else original)
    return found


def bands_for(threshold: float, hashes: int) -> tuple[int, int]:
    """(bands, rows): the longest rows that miss a pair at the threshold at most once in 1000."""
    rows = 1
    while rows < hashes and (1 - threshold ** (rows + 1)) ** (hashes // (rows + 1)) <= 1e-3:
        rows += 1
    return hashes // rows, rows


def signatures(sets: Sequence[np.ndarray], hashes: int) -> np.ndarray:
    """MinHash signatures: uint32 [documents, hashes]; empty sets give the largest value."""
    random = rng("minhash", hashes)
    scale = random.integers(0, 1 << 32, hashes, dtype=np.uint32) | np.uint32(1)
    shift = random.integers(0, 1 << 32, hashes, dtype=np.uint32)
    out = np.full((len(sets), hashes), 0xFFFFFFFF, np.uint32)
    filled = [i for i, grams in enumerate(sets) if len(grams)]
    sizes = np.asarray([len(sets[i]) for i in filled])
    ends = np.cumsum(sizes)
    begin = 0
    while begin < len(filled):
        base = ends[begin] - sizes[begin]
        stop = max(begin + 1, int(np.searchsorted(ends, base + BLOCK, side="right")))
        members = filled[begin:stop]
        flat = np.concatenate([sets[i] for i in members]).astype(np.uint32)
        starts = ends[begin:stop] - sizes[begin:stop] - base
        for k in range(hashes):
            out[members, k] = np.minimum.reduceat(flat * scale[k] + shift[k], starts)
        begin = stop
    return out


def band_keys(signature: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """One uint64 key for each band of each signature: [documents, bands]."""
    keys = np.broadcast_to(np.arange(bands, dtype=np.uint64), (len(signature), bands)).copy()
    parts = signature[:, : bands * rows].reshape(len(signature), bands, rows)
    for row in range(rows):
        keys = mix(keys * np.uint64(0x9E3779B97F4A7C15) + parts[:, :, row])
    return keys


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Likeness of two sorted sets of hashes."""
    if not len(a) or not len(b):
        return 0.0
    places = np.minimum(np.searchsorted(b, a), len(b) - 1)
    common = int((b[places] == a).sum())
    return common / (len(a) + len(b) - common)


def near_copies(words: Words, settings: DeduplicateSettings) -> list[tuple[int, float]]:
    """For each text (survivor that it copies, Jaccard), or (-1, 0) where it survives itself.

    Earlier texts survive. Broder 1997 for MinHash, Leskovec et al. ch. 3 for bands.
    """
    sets = gram_sets(words, settings.ngram)
    bands, rows = bands_for(settings.threshold, settings.hashes)
    keys = band_keys(signatures(sets, bands * rows), bands, rows).tolist()
    survivors: dict[int, list[int]] = {}
    found: list[tuple[int, float]] = []
    for i, own in enumerate(keys):
        original, likeness = _original(i, own, sets, survivors, settings.threshold)
        found.append((original, likeness))
        if original < 0 and len(sets[i]):
            for key in own:
                survivors.setdefault(key, []).append(i)
    return found


def _original(
    i: int,
    keys: Sequence[int],
    sets: Sequence[np.ndarray],
    survivors: dict[int, list[int]],
    threshold: float,
) -> tuple[int, float]:
    """The first survivor that text i is like, most shared bands first."""
    shared: dict[int, int] = {}
    for key in keys:
        for j in survivors.get(key, ()):
            shared[j] = shared.get(j, 0) + 1
    size = len(sets[i])
    order = sorted(shared, key=lambda j: (-shared[j], j))
    for j in order[:MOST_CANDIDATES]:
        other = len(sets[j])
        if min(size, other) >= threshold * max(size, other):
            likeness = jaccard(sets[i], sets[j])
            if likeness >= threshold:
                return j, likeness
    return -1, 0.0
