"""datasketch and rensa: MinHash and banded lookup, as their manuals show them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import common


def shingles(text: str) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


def near_datasketch(source: Path, threshold: float, hashes: int = 112) -> Callable[[], list[int]]:
    from datasketch import MinHash, MinHashLSH

    bands, rows = common.bands_for(threshold, hashes)
    texts = common.texts_of(source)

    def edges() -> Iterator[tuple[int, int]]:
        index = MinHashLSH(num_perm=bands * rows, params=(bands, rows))
        for i, text in enumerate(texts):
            signature = MinHash(num_perm=bands * rows)
            signature.update_batch([shingle.encode() for shingle in shingles(text)])
            yield from ((i, j) for j in index.query(signature))
            index.insert(i, signature)

    return lambda: common.all_but_first(len(texts), edges())


def near_rensa(source: Path, threshold: float, hashes: int = 112) -> Callable[[], list[int]]:
    from rensa import RMinHash, RMinHashLSH

    bands, rows = common.bands_for(threshold, hashes)
    texts = common.texts_of(source)

    def edges() -> Iterator[tuple[int, int]]:
        index = RMinHashLSH(threshold=threshold, num_perm=bands * rows, num_bands=bands)
        for i, text in enumerate(texts):
            signature = RMinHash(num_perm=bands * rows, seed=1)
            signature.update(list(shingles(text)))
            yield from ((i, j) for j in index.query(signature))
            index.insert(i, signature)

    return lambda: common.all_but_first(len(texts), edges())


if __name__ == "__main__":
    common.answer({"near_datasketch": near_datasketch, "near_rensa": near_rensa})
