"""Word n-grams of many texts as 64-bit hashes, computed on one flat array."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np

#: Scripts that put no space between words (Thai, Lao, Burmese, Khmer, kana, Han) and Hangul,
#: whose spaces part phrases with their particles rather than words.
SPACELESS = (
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003134f"
)
_SPACELESS = re.compile(f"[{SPACELESS}]")
_SLICE = 1 << 17  # characters hashed together
_SORTED = 1 << 14  # words of the texts whose grams are sorted together
LETTERS = 0x40000  # above these code points stand no letters or digits: tags and private use
_WORD = re.compile(rf"\w{{1,{_SLICE}}}")
_WORD_OR_CHARACTER = re.compile(rf"[{SPACELESS}]|[^\W{SPACELESS}]{{1,{_SLICE}}}")


def _lower(text: str) -> str:
    """Lower case of the same length: İ is the one character whose lower case is two."""
    return text.replace("İ", "i").lower()


def _pattern(text: str) -> re.Pattern[str]:
    spaced = text.isascii() or not _SPACELESS.search(text)
    return _WORD if spaced else _WORD_OR_CHARACTER


def split_words(text: str) -> list[str]:
    """Lower-case runs of word characters; everything else separates (GPT-3, App. C).

    In scripts without spaces every character is a word: no dictionary is needed, and a copy is
    found whatever a segmenter would make of its edges.
    """
    text = _lower(text)
    return _pattern(text).findall(text)


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where in the text each of its `split_words` stands: start and stop."""
    text = _lower(text)
    return [match.span() for match in _pattern(text).finditer(text)]


def mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: a bijection of uint64 that spreads every bit (Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class Words:
    """Hashed words of texts, end to end: `hashes` uint64 [words], `offsets` int64 [texts + 1]."""

    hashes: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, i: int) -> np.ndarray:
        """The word hashes of text i."""
        return self.hashes[self.offsets[i] : self.offsets[i + 1]]


@lru_cache(maxsize=1)
def _kinds() -> np.ndarray:
    """For every code point: 0 between words, 1 in a word, 2 where it is a word by itself."""
    lone = re.compile(f"[{SPACELESS}]+")
    everything = "".join(map(chr, range(LETTERS)))
    kinds = np.zeros(0x110000, np.uint8)
    kinds[:LETTERS] = np.fromiter(map(str.isalnum, everything), np.uint8, LETTERS)
    kinds[ord("_")] = 1
    for match in lone.finditer(everything):
        kinds[match.start() : match.end()] = 2
    return kinds


_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse


@lru_cache(maxsize=1)
def _powers() -> tuple[np.ndarray, np.ndarray]:
    """Powers of the base and of its inverse, as many as a slice has characters."""
    bases = (_BASE, pow(_BASE, -1, 1 << 64))
    up, down = (np.cumprod(np.full(_SLICE, base, np.uint64)) for base in bases)
    return up, down


def _hashed(codes: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the words of a slice start, and their hashes: int64 and uint64 [words].

    A word is a polynomial in its code points, a difference of two running sums.
    """
    edges = np.flatnonzero(np.diff(kinds == 1, prepend=False, append=False))
    starts, stops = edges[::2], edges[1::2]
    if len(lone := np.flatnonzero(kinds == 2)):
        starts, stops = np.concatenate([starts, lone]), np.concatenate([stops, lone + 1])
        order = np.argsort(starts)
        starts, stops = starts[order], stops[order]
    up, down = _powers()
    sums = np.cumsum(codes * up[: len(codes)])
    before = np.where(starts > 0, sums[starts - 1], np.uint64(0))
    return starts, mix((sums[stops - 1] - before) * down[starts])


def _hash_together(texts: Sequence[str]) -> tuple[list[np.ndarray], np.ndarray]:
    """The word hashes of texts, in pieces, and how many words each text has.

    Hashing texts one by one would cost more in calls than in work. What is longer than a slice is
    cut where no word is; a word longer than a slice counts as several, for `_pattern` as well.
    """
    lower = [_lower(text) for text in texts]
    ends = np.cumsum([len(text) + 1 for text in lower])
    codes = np.frombuffer("\n".join(lower).encode("utf-32-le", "surrogatepass"), "<u4")
    kinds = _kinds().take(codes)
    places, found, begin = [], [], 0
    while begin < len(codes):
        stop = min(len(codes), begin + _SLICE)
        if stop < len(codes):
            gaps = np.flatnonzero(kinds[begin:stop] != 1)
            stop = begin + int(gaps[-1]) + 1 if len(gaps) else stop
        starts, hashes = _hashed(codes[begin:stop], kinds[begin:stop])
        places.append(starts + begin)
        found.append(hashes)
        begin = stop
    where = np.concatenate(places) if places else np.empty(0, np.int64)
    return found, np.diff(np.searchsorted(where, ends), prepend=0)


def hash_words(texts: Iterable[str]) -> Words:
    """Hash every word of every text; the same word has the same hash in every process."""
    parts, counts = [np.empty(0, np.uint64)], [np.zeros(1, np.int64)]
    held: list[str] = []
    size = 0
    for text in chain(texts, [None]):
        if held and (text is None or size + len(text) > 8 * _SLICE):
            found, numbers = _hash_together(held)
            parts += found
            counts.append(numbers)
            held, size = [], 0
        if text is not None:
            held.append(text)
            size += len(text)
    return Words(np.concatenate(parts), np.cumsum(np.concatenate(counts)))


def gram_hashes(hashes: np.ndarray, n: int) -> np.ndarray:
    """Hashes of all n-grams in a run of words: uint64 [max(0, words - n + 1)]."""
    count = max(0, len(hashes) - n + 1)
    total = np.zeros(count, np.uint64)
    for i in range(n):  # a polynomial, so that the order of the words counts
        total *= np.uint64(_BASE)
        total += hashes[i : i + count]
    return mix(total)


def sequence_hashes(words: Words) -> np.ndarray:
    """One hash of all the words of each text that has any, in their order: uint64 [texts]."""
    starts = words.offsets[:-1]
    full = np.diff(words.offsets) > 0
    up, _ = _powers()
    place = np.arange(len(words.hashes)) - np.repeat(starts, np.diff(words.offsets))
    terms = words.hashes * up[place % _SLICE]
    return mix(np.add.reduceat(terms, starts[full])) if len(terms) else np.empty(0, np.uint64)


def gram_sets(words: Words, n: int) -> list[np.ndarray]:
    """The sorted distinct n-grams of every text, 32 bits of each: uint32 [grams].

    A text of fewer words is one shorter gram. Two texts of a thousand words share a hash by chance
    once in four thousand pairs.
    """
    lengths = np.diff(words.offsets)
    sets: list[np.ndarray] = []
    low = 0
    while low < len(words):  # together as many texts as the processor's cache sorts quickly
        enough = words.offsets[low] + _SORTED
        high = max(low + 1, int(np.searchsorted(words.offsets, enough, side="right")) - 1)
        own = lengths[low:high]
        grams = gram_hashes(words.hashes[words.offsets[low] : words.offsets[high]], n)
        text = np.repeat(np.arange(high - low, dtype=np.uint64), own)
        text, last = text[: len(grams)], text[len(text) - len(grams) :]
        keys = ((text << np.uint64(32)) | (grams >> np.uint64(32)))[text == last]
        for i in np.flatnonzero((own > 0) & (own < n)).tolist():
            whole = gram_hashes(words.of(low + i), int(own[i])) >> np.uint64(32)
            keys = np.append(keys, np.uint64(i << 32) | whole)
        keys.sort()
        keys = keys[np.diff(keys, prepend=~keys[:1]) != 0]
        ends = np.searchsorted(keys, np.arange(1, high - low).astype(np.uint64) << np.uint64(32))
        sets += np.split(keys.astype(np.uint32), ends)
        low = high
    return sets
