"""What rules look at: a text split once into lines and words, and the words as numbers."""

from __future__ import annotations

import re
from collections import Counter
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
_NOT_LATIN = bytes(code for code in range(128) if not chr(code).isalpha())
_LETTER = re.compile(r"[^\W\d_]")


class Shape:
    """A text, its lines without blanks around them, and its words.

    Words are lower-case runs between blanks. In scripts without spaces a character is a word, and
    `count` is an estimate.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.lower = text.lower()
        self.lines = [line for line in map(str.strip, text.split("\n")) if line]
        characters = 0
        words = self.lower
        if _CHARACTER.search(beyond_ascii(words)):
            words, characters = _CHARACTER.subn(r" \g<0> ", words)
        self.words = words.split()
        #: A good part of the words are characters of a script without spaces.
        self.mixed = characters > 0.1 * len(self.words)
        #: Most words are such characters.
        self.spaceless = characters > 0.5 * len(self.words)
        self.count = len(self.words) - characters + characters / CHARACTERS_A_WORD
        self.characters = len("".join(self.words))

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each word occurs."""
        return Counter(self.words)

    @cached_property
    def lettered(self) -> int:
        """How many words hold a letter."""
        if self.latin and not self.mixed:
            return sum(map(str.islower, self.words))  # of lower-case words: has a cased letter
        return sum(1 for word in self.words if _LETTER.search(word))

    @cached_property
    def longest(self) -> int:
        """Characters of the longest word."""
        return max(map(len, self.counts))

    @cached_property
    def ids(self) -> np.ndarray:
        """Equal numbers for equal words: int64 [words]."""
        place = dict(zip(self.counts, range(len(self.counts))))
        return np.fromiter(map(place.__getitem__, self.words), np.int64, len(self.words))

    @cached_property
    def lengths(self) -> np.ndarray:
        """Characters of each word: int64 [words]."""
        return np.fromiter(map(len, self.words), np.int64, len(self.words))

    @cached_property
    def heaviest(self) -> list[int]:
        """Characters that the n heaviest distinct words hold together, for n from 0 to 8."""
        kinds = len(self.counts)
        sizes = np.fromiter(map(len, self.counts), np.int64, kinds)
        sizes *= np.fromiter(self.counts.values(), np.int64, kinds)
        sizes.sort()
        return [0, *np.cumsum(sizes[:-9:-1]).tolist()]

    @cached_property
    def latin(self) -> bool:
        """Most letters of the start are Latin, as a rule on English words expects."""
        head = self.text[:2000]
        latin = len(head.encode("ascii", "ignore").translate(None, _NOT_LATIN))
        return head.isascii() or latin > len(_LETTER.findall(beyond_ascii(head)))

    @cached_property
    def unpunctuated(self) -> bool:
        """The script marks no sentence ends (Thai, Lao)."""
        head = self.text[:2000]
        return len(_UNPUNCTUATED.findall(beyond_ascii(head))) > 0.2 * len(head)

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

    def top_gram(self, n: int, most: float) -> bool:
        """Whether the most frequent n-gram holds more than a share of the characters.

        None does where the n heaviest words do not, which spares the sort.
        """
        heaviest = self.heaviest[min(n, len(self.heaviest) - 1)]
        if heaviest <= most * self.characters or len(self.words) < n:
            return False
        keys = np.sort(self.grams(n))
        edges = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1], [True]]))
        runs = np.diff(edges)
        best = int(runs.max())
        if best == 1:
            return False
        starts = np.flatnonzero(np.isin(self.grams(n), keys[edges[:-1][runs == best]]))
        sizes = np.convolve(self.lengths, np.ones(n, np.int64), "valid")[starts]
        return best * int(sizes.max()) > most * self.characters

    def repeated_grams(self, n: int) -> float:
        """Share of characters in n-grams that stood before, each character counted once."""
        keys = self.grams(n)
        ordered = np.sort(keys)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if not len(twice):
            return 0.0
        found = np.flatnonzero(twice[np.searchsorted(twice[:-1], keys)] == keys)
        order = found[np.argsort(keys[found], kind="stable")]
        again = order[1:][keys[order[1:]] == keys[order[:-1]]]
        inside = np.zeros(len(self.words), bool)
        for shift in range(n):
            inside[again + shift] = True
        return float(self.lengths[inside].sum()) / self.characters


def beyond_ascii(text: str) -> str:
    """The characters beyond ASCII, in order: few in most texts, where patterns are slow."""
    if text.isascii():
        return ""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    return codes[codes > 127].tobytes().decode("utf-32-le", "surrogatepass")


def repeats(parts: list[str], characters: int) -> tuple[float, float]:
    """Share of the parts, and of their characters, that stood before."""
    distinct = set(parts)
    if len(distinct) == len(parts):
        return 0.0, 0.0
    once = sum(map(len, distinct))
    return 1 - len(distinct) / len(parts), 1 - once / max(1, characters)
