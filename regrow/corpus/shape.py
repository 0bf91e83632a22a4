"""What rules look at: a text split once into lines and words, and the words as numbers."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cached_property

import numpy as np

from regrow.corpus.grams import SPACELESS

#: A rough mean for Chinese (1.6), Japanese (2), Korean (2.5) and Thai (4): rules that count words
#: have thresholds so wide that a segmenter would change no verdict.
CHARACTERS_A_WORD = 2
#: Terminal punctuation of the scripts we meet: C4's and FineWeb's, full width, Devanagari, Arabic.
#: A closing bracket or quotation mark ends a line of Chinese or Japanese speech.
TERMINAL = tuple(".!?\"'”’…。！？．」』）】；｡।॥؟۔։።")
_CHARACTER = re.compile(f"[{SPACELESS}]")
_UNPUNCTUATED = re.compile(r"[\u0e00-\u0e7f\u0e80-\u0eff]")  # Thai, Lao: a space ends a sentence
_LATIN = re.compile(r"[A-Za-z]")
_LETTER = re.compile(r"[^\W\d_]")
_EDGES = ".,;:!?\"'()[]{}<>*_-–—“”‘’…"


class Shape:
    """A text, its lines without blanks around them, and its words as rows of small tables.

    `kinds` are the distinct words, lower-case; `ids` int64 [words] says which is where. In scripts
    without spaces a character is a word, and `count` is an estimate.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.lower = text.lower()
        self.lines = [line for line in map(str.strip, text.split("\n")) if line]
        characters = 0
        words = self.lower
        if not text.isascii():
            words, characters = _CHARACTER.subn(r" \g<0> ", words)
        self.words = words.split()
        #: Most words are characters of a script without spaces.
        self.spaceless = characters > 0.5 * len(self.words)
        self.count = len(self.words) - characters + characters / CHARACTERS_A_WORD
        self.characters = sum(map(len, self.words))

    @cached_property
    def kinds(self) -> list[str]:
        """The distinct words in order of appearance."""
        return list(dict.fromkeys(self.words))

    @cached_property
    def ids(self) -> np.ndarray:
        """For each word the place of its kind: int64 [words]."""
        place = dict(zip(self.kinds, range(len(self.kinds))))
        return np.fromiter(map(place.__getitem__, self.words), np.int64, len(self.words))

    @cached_property
    def counts(self) -> np.ndarray:
        """How often each kind occurs: int64 [kinds]."""
        return np.bincount(self.ids, minlength=len(self.kinds))

    @cached_property
    def lengths(self) -> np.ndarray:
        """Characters of each kind: int64 [kinds]."""
        return np.fromiter(map(len, self.kinds), np.int64, len(self.kinds))

    @cached_property
    def lettered(self) -> np.ndarray:
        """Which kinds hold a letter: bool [kinds]."""
        find = _LETTER.search
        return np.fromiter(
            (k.isalpha() or find(k) is not None for k in self.kinds), bool, len(self.kinds)
        )

    @cached_property
    def bare(self) -> list[str]:
        """The kinds without punctuation around them."""
        return [kind.strip(_EDGES) for kind in self.kinds]

    def among(self, words: Collection[str]) -> np.ndarray:
        """Which kinds, bare of punctuation, are in a set: bool [kinds]."""
        return np.fromiter(map(words.__contains__, self.bare), bool, len(self.kinds))

    def share(self, kinds: np.ndarray) -> float:
        """Share of the words that are of the given kinds (bool [kinds])."""
        return float(self.counts[kinds].sum()) / max(1, len(self.words))

    @cached_property
    def latin(self) -> bool:
        """Most letters of the start are Latin, as a rule on English words expects."""
        head = self.text[:2000]
        return head.isascii() or 2 * len(_LATIN.findall(head)) > len(_LETTER.findall(head))

    @cached_property
    def unpunctuated(self) -> bool:
        """The script marks no sentence ends (Thai, Lao)."""
        head = self.text[:2000]
        return not head.isascii() and len(_UNPUNCTUATED.findall(head)) > 0.2 * len(head)

    @cached_property
    def line_ends(self) -> float:
        """Share of lines that end in terminal punctuation."""
        return sum(line.endswith(TERMINAL) for line in self.lines) / max(1, len(self.lines))

    @cached_property
    def line_repeats(self) -> tuple[float, float]:
        """Share of lines, and of characters, in lines that stood before."""
        return repeats(self.lines, sum(map(len, self.lines)))

    @cached_property
    def paragraph_repeats(self) -> tuple[float, float]:
        """Share of paragraphs, and of characters, in paragraphs that stood before."""
        parts = [part for part in map(str.strip, self.text.split("\n\n")) if part]
        return repeats(parts, sum(map(len, parts)))

    @cached_property
    def _grams(self) -> list[np.ndarray]:
        """Keys of the 1-grams, 2-grams ...: equal where the words are (64-bit hashes)."""
        return [self.ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)]

    def grams(self, n: int) -> np.ndarray:
        """Keys of the n-grams: uint64 [max(0, words - n + 1)]."""
        while len(self._grams) < n:
            longest, words = self._grams[-1], self._grams[0]
            key = longest[:-1] * np.uint64(0xBF58476D1CE4E5B9)
            self._grams.append((key ^ (key >> np.uint64(31))) + words[len(self._grams) :])
        return self._grams[n - 1]

    def top_gram(self, n: int) -> tuple[int, float]:
        """How often the most frequent n-gram occurs, and the share of characters inside it."""
        keys = np.sort(self.grams(n))
        if not len(keys):
            return 0, 0.0
        edges = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1], [True]]))
        runs = np.diff(edges)
        best = int(runs.max())
        if best == 1:
            return 1, 0.0
        starts = np.flatnonzero(np.isin(self.grams(n), keys[edges[:-1][runs == best]]))
        sizes = np.convolve(self.lengths[self.ids], np.ones(n, np.int64), "valid")[starts]
        return best, best * int(sizes.max()) / self.characters

    def repeated_grams(self, n: int) -> float:
        """Share of characters in n-grams that stood before, each character counted once."""
        keys = self.grams(n)
        if len(keys) < 2:
            return 0.0
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        again = order[1:][ordered[1:] == ordered[:-1]]
        if not len(again):
            return 0.0
        change = np.zeros(len(self.words) + 1, np.int64)
        change[again] += 1
        np.subtract.at(change, again + n, 1)
        inside = np.cumsum(change)[:-1] > 0
        return float(self.lengths[self.ids[inside]].sum()) / self.characters


def repeats(parts: list[str], characters: int) -> tuple[float, float]:
    """Share of the parts, and of their characters, that stood before."""
    distinct = set(parts)
    if len(distinct) == len(parts):
        return 0.0, 0.0
    once = sum(map(len, distinct))
    return 1 - len(distinct) / len(parts), 1 - once / max(1, characters)
