"""How fast new words turn up: counts of hashed words in bounded memory, merged in any order."""

from __future__ import annotations

from typing import Any

import numpy as np

LIMIT = 1 << 18  # distinct words held; beyond, every other one is kept, and so on
PENDING = 1 << 20  # words that wait to be counted


class Vocabulary:
    """Exact up to `limit` distinct words; above, a sample of them.

    Only words whose hash begins with `level` zero bits are held, and the level rises when there
    are too many (adaptive sampling, Flajolet 1990). A held word was held from its first occurrence
    on, so its count is exact; the relative error of a number of words is about 1 / sqrt(limit).
    What is held depends on the words alone, not on their order or on how they were split.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.level = 0
        self.words = 0
        self._hashes = np.empty(0, np.uint64)
        self._counts = np.empty(0, np.int64)
        self._pending: list[np.ndarray] = []
        self._waiting = 0

    def add(self, hashes: np.ndarray) -> None:
        """Count the words of a text: uint64 [words] as `regrow.corpus.grams.hash_words` gives."""
        self.words += len(hashes)
        self._pending.append(hashes)
        self._waiting += len(hashes)
        if self._waiting >= PENDING:
            self._count()

    def __getstate__(self) -> dict[str, object]:
        """Counted, in numbers as short as will do: a corpus keeps one for every part."""
        self._count()
        most = int(self._counts.max(initial=0))
        return {**self.__dict__, "_counts": self._counts.astype(np.min_scalar_type(most))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _counts=state["_counts"].astype(np.int64))

    def merge(self, other: Vocabulary) -> None:
        """Add what another has counted."""
        self._count()
        other._count()
        self.words += other.words
        self.level = max(self.level, other.level)
        self._join(other._hashes, other._counts)

    def _count(self) -> None:
        if self._pending:
            hashes, counts = np.unique(np.concatenate(self._pending), return_counts=True)
            self._pending, self._waiting = [], 0
            self._join(hashes, counts.astype(np.int64))

    def _join(self, hashes: np.ndarray, counts: np.ndarray) -> None:
        hashes = np.concatenate([self._hashes, hashes])
        counts = np.concatenate([self._counts, counts])
        order = np.argsort(hashes, kind="stable")
        hashes, counts = hashes[order], counts[order]
        held = self._held(hashes)
        hashes, counts = hashes[:held], counts[:held]
        if held:
            first = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
            hashes, counts = hashes[first], np.add.reduceat(counts, first)
        while len(hashes) > self.limit:
            self.level += 1
            hashes = hashes[: self._held(hashes)]
        self._hashes, self._counts = hashes, counts[: len(hashes)]

    def _held(self, ordered: np.ndarray) -> int:
        """How many of the sorted hashes begin with `level` zero bits."""
        last = np.uint64((1 << (64 - self.level)) - 1)
        return int(np.searchsorted(ordered, last, side="right"))

    def distinct(self, read: int) -> float:
        """Distinct words to expect in `read` of the words, each drawn with the same chance.

        Coleman's rarefaction (1981): the sum of 1 - (1 - read / words) ** count. With all words
        read it is their number.
        """
        self._count()
        if not self.words:
            return 0.0
        times, how_many = np.unique(self._counts, return_counts=True)
        missed = (1.0 - min(1.0, read / self.words)) ** times
        return float(how_many @ (1.0 - missed)) * 2.0**self.level

    def growth(self) -> list[tuple[int, int]]:
        """(words read, distinct words) at 1k, 3k, 10k, 30k ... words and at the end."""
        marks = [m * 10**power for power in range(3, 16) for m in (1, 3)]
        read = [mark for mark in marks if mark < self.words]
        return [(n, round(self.distinct(n))) for n in [*read, self.words] if n]
