"""Documents with near-duplicates planted among them, and the exact Jaccard of every pair.

Real documents are cut into chunks; a share is copied with edits: words replaced, dropped and added
one by one (1-15 %), a passage replaced, the end cut off, or case and punctuation only. The order is
shuffled. Likeness is that of sets of lower-case word 5-grams, for all pairs, planted or natural.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regrow.files import read_jsonl

LEAST = 0.3  # pairs less like than this are not listed


@dataclass(frozen=True)
class Planted:
    texts: list[str]
    originals: dict[int, list[int]]  # planted copies of a document
    pairs: dict[tuple[int, int], float]  # exact Jaccard of all pairs i < j, from LEAST


def chunks(texts: Iterable[str], characters: int) -> list[str]:
    """Runs of whole lines of about that size; an only line that is longer stays whole."""
    out: list[str] = []
    for text in texts:
        part: list[str] = []
        size = 0
        for line in text.split("\n"):
            part.append(line)
            size += len(line) + 1
            if size >= characters:
                out.append("\n".join(part))
                part, size = [], 0
        if size >= characters / 3:
            out.append("\n".join(part))
    return out


def edit(text: str, vocabulary: Sequence[str], rng: random.Random) -> str:
    """A copy that is a little or a lot different."""
    words = re.split(r"(\s+)", text)  # words at even places
    kind = rng.choices(("scattered", "passage", "cut", "surface"), (70, 14, 12, 4))[0]
    if kind == "scattered":
        share = 0.005 * 30 ** rng.random()  # up to 15 %, low shares as likely as high ones
        for i in range(0, len(words), 2):
            if rng.random() < share:
                other = rng.choice(vocabulary)
                words[i] = rng.choices((other, "", f"{words[i]} {other}"), (6, 2, 2))[0]
    elif kind == "passage":
        size = int(len(words) * rng.uniform(0.03, 0.4)) // 2 * 2
        start = rng.randrange(0, max(1, len(words) - size), 2)
        for i in range(start, start + size, 2):
            words[i] = rng.choice(vocabulary)
    elif kind == "cut":
        words = words[: int(len(words) * rng.uniform(0.4, 0.97))]
    else:
        return re.sub(r"[,;:]", " ", text).upper() + " !"
    return "".join(words)


def gram_sets(texts: Iterable[str], n: int = 5) -> list[np.ndarray]:
    """Numbers of the distinct n-grams of every text; a short text is one gram."""
    known: dict[tuple[str, ...], int] = {}
    sets = []
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        grams = {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}
        sets.append(np.array([known.setdefault(gram, len(known)) for gram in grams]))
    return sets


def all_pairs(texts: Sequence[str]) -> dict[tuple[int, int], float]:
    """Exact Jaccard of all pairs that reach LEAST: a sparse product, no sampling, no hashing."""
    from scipy.sparse import csr_matrix

    sets = gram_sets(texts)
    sizes = np.array([len(grams) for grams in sets])
    columns = np.concatenate(sets)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    shape = (len(sets), int(columns.max()) + 1)
    matrix = csr_matrix((np.ones(len(columns), np.int32), columns, ends), shape)
    shared_columns = np.flatnonzero(np.diff(matrix.tocsc().indptr) > 1)
    matrix = matrix[:, shared_columns]
    transposed = matrix.T.tocsr()
    found: dict[tuple[int, int], float] = {}
    for start in range(0, len(sets), 1000):
        common = (matrix[start : start + 1000] @ transposed).tocoo()
        i, j, n = common.row + start, common.col, common.data
        likeness = n / (sizes[i] + sizes[j] - n)
        keep = (i < j) & (likeness >= LEAST)
        found |= dict(zip(zip(i[keep].tolist(), j[keep].tolist()), likeness[keep].tolist()))
    return found


def plant(path: Path, documents: int, characters: int, share: float, seed: int = 0) -> Planted:
    """At most `documents` texts of which `share` are planted copies, one to four of an original."""
    rng = random.Random(seed)
    base = chunks((row["text"] for row in read_jsonl(path)), characters)
    rng.shuffle(base)
    base = base[: int(documents * (1 - share))]
    vocabulary = sorted({word for text in base[:2000] for word in re.findall(r"[a-z]{2,}", text)})
    copies: list[tuple[int, str]] = []
    while len(copies) < len(base) * share / (1 - share):
        original = rng.randrange(len(base))
        for _ in range(rng.choice((1, 1, 2, 4))):
            copies.append((original, edit(base[original], vocabulary, rng)))
    texts = [*base, *(text for _, text in copies)]
    order = list(range(len(texts)))
    rng.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    originals: dict[int, list[int]] = defaultdict(list)
    for i, (original, _) in enumerate(copies):
        originals[place[original]].append(place[len(base) + i])
    texts = [texts[old] for old in order]
    return Planted(texts, dict(originals), all_pairs(texts))
