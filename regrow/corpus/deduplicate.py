"""Exact copies and near-duplicates: MinHash bands propose, exact Jaccard decides.

A document goes only if its own n-gram set is alike enough to that of a survivor. Broder 1997 for
MinHash, Leskovec et al. ch. 3 for bands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from regrow.corpus.grams import Words, gram_sets, mix
from regrow.corpus.settings import DeduplicateSettings
from regrow.seeds import rng

BLOCK = 1 << 18  # n-grams hashed at a time
MISSED = 0.002  # pairs just above the threshold that bands may miss
NEIGHBOURS = 8  # texts with the same band key that each is compared with, nearest and first


def digest_of(text: str) -> tuple[int, int]:
    """128 bits of a text's words in their case; white space does not count."""
    joined = " ".join(text.split())
    digest = hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def bands_for(threshold: float, hashes: int) -> tuple[int, int]:
    """(bands, rows): the longest rows that miss .2 % of the pairs in the .2 above the threshold."""
    likeness = np.linspace(threshold, min(1.0, threshold + 0.2), 21)

    def missed(rows: int) -> float:
        return float(((1 - likeness**rows) ** (hashes // rows)).mean())

    rows = 1
    while rows < hashes and missed(rows + 1) <= MISSED:
        rows += 1
    return hashes // rows, rows


def signatures(sets: Sequence[np.ndarray], hashes: int) -> np.ndarray:
    """MinHash signatures: uint32 [documents, hashes]; empty sets give the largest value."""
    random = rng("minhash", hashes)
    scale = random.integers(0, 1 << 32, hashes, dtype=np.uint32) | np.uint32(1)
    shift = random.integers(0, 1 << 32, hashes, dtype=np.uint32)
    out = np.full((len(sets), hashes), 0xFFFFFFFF, np.uint32)
    sizes = np.asarray(list(map(len, sets)), np.int64)
    filled = np.flatnonzero(sizes)
    sizes = sizes[filled]
    ends = np.cumsum(sizes)
    begin = 0
    while begin < len(filled):
        base = ends[begin] - sizes[begin]
        stop = max(begin + 1, int(np.searchsorted(ends, base + BLOCK, side="right")))
        members = filled[begin:stop]
        flat = np.concatenate([sets[i] for i in members.tolist()]).astype(np.uint32, copy=False)
        starts = ends[begin:stop] - sizes[begin:stop] - base
        hashed, lowest = np.empty_like(flat), np.empty((hashes, len(members)), np.uint32)
        for k in range(hashes):
            np.multiply(flat, scale[k], out=hashed)
            hashed += shift[k]
            np.minimum.reduceat(hashed, starts, out=lowest[k])
        out[members] = lowest.T
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


def pairs_of_band(
    keys: np.ndarray, sizes: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Places a < b of texts that share a key and whose sizes allow the threshold.

    Each text is paired with the eight before it and the eight first of those with its key, so that
    a key that very many share costs no square.
    """
    order = np.argsort(keys, kind="stable")
    order = order[sizes[order] > 0]
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    first = np.repeat(starts, np.diff(np.concatenate([starts, [len(order)]])))
    place = np.arange(len(order))
    found = []
    for step in range(1, NEIGHBOURS + 1):
        near = place[place - first >= step]
        found.append((near - step, near))
        far = place[place - first >= NEIGHBOURS + step]
        found.append((first[far] + step - 1, far))
    a = order[np.concatenate([a for a, _ in found])]
    b = order[np.concatenate([b for _, b in found])]
    allowed = np.minimum(sizes[a], sizes[b]) >= threshold * np.maximum(sizes[a], sizes[b])
    return a[allowed], b[allowed]


def components(
    count: int, pairs: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]
) -> np.ndarray:
    """For each of so many texts the first that it hangs together with: int64 [count].

    `pairs` gives all pairs (arrays of both ends) piece by piece, again whenever it is called.
    Lower numbers are handed along the pairs until none changes.
    """
    root = np.arange(count)
    changed = True
    while changed:
        changed = False
        for a, b in pairs():
            low, high = np.minimum(root[a], root[b]), np.maximum(root[a], root[b])
            changed |= bool((low != high).any())
            np.minimum.at(root, high, low)
        while (root[root] != root).any():
            root = root[root]
    return root


def clusters(a: np.ndarray, b: np.ndarray, quality: np.ndarray) -> np.ndarray:
    """For each text the one that stands for it, itself if it survives: int64 [texts].

    `a` and `b` are the ends of the verified pairs. A text goes only if it is paired with a survivor
    itself, so that no chain of small likenesses can wipe out a source. Those with most pairs are
    chosen first, then the best, then the first: copies that are unlike each other share the text
    they were made of.
    """
    n = len(quality)
    ends, others = np.concatenate([a, b]), np.concatenate([b, a])
    others = others[np.argsort(ends, kind="stable")]
    degree = np.bincount(ends.astype(np.int64), minlength=n)
    first = np.cumsum(degree) - degree
    survivor = np.full(n, -1)
    for i in np.lexsort((np.arange(n), -quality, -degree)).tolist():
        if survivor[i] < 0:
            near = others[first[i] : first[i] + degree[i]]
            survivor[near[survivor[near] < 0]] = i
            survivor[i] = i
    return survivor


def near_copies(words: Words, settings: DeduplicateSettings) -> list[tuple[int, float]]:
    """For each text (survivor that stands for it, their Jaccard), or (-1, 0) where it survives."""
    sets = gram_sets(words, settings.ngram)
    sizes = np.asarray(list(map(len, sets)), np.int64)
    bands, rows = bands_for(settings.threshold, settings.hashes)
    keys = band_keys(signatures(sets, bands * rows), bands, rows)
    pairs = [pairs_of_band(keys[:, band], sizes, settings.threshold) for band in range(bands)]
    a, b = np.divmod(np.unique(np.concatenate([a * len(sets) + b for a, b in pairs])), len(sets))
    both = zip(a.tolist(), b.tolist(), strict=True)
    alike = np.asarray([jaccard(sets[i], sets[j]) >= settings.threshold for i, j in both], bool)
    a, b = a[alike], b[alike]
    survivor = clusters(a, b, np.zeros(len(sets)))
    return [
        (-1, 0.0) if i == j else (j, jaccard(sets[i], sets[j]))
        for i, j in enumerate(survivor.tolist())
    ]
