"""Word n-grams of many texts as 64-bit hashes, computed on one flat array."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

#: Scripts that put no space between words (Thai, Lao, Burmese, Khmer, kana, Han) and Hangul,
#: whose spaces part phrases with their particles rather than words.
SPACELESS = (
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003134f"
)
_SPACELESS = re.compile(f"[{SPACELESS}]")
_WORD = re.compile(r"\w+")
_WORD_OR_CHARACTER = re.compile(rf"[{SPACELESS}]|[^\W{SPACELESS}]+")


def _pattern(text: str) -> re.Pattern[str]:
    spaced = text.isascii() or not _SPACELESS.search(text)
    return _WORD if spaced else _WORD_OR_CHARACTER


def split_words(text: str) -> list[str]:
    """Lower-case runs of word characters; everything else separates (GPT-3, App. C).

    In scripts without spaces every character is a word: no dictionary is needed, and a copy is
    found whatever a segmenter would make of its edges.
    """
    text = text.lower()
    return _pattern(text).findall(text)


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where in the lower-case text each of its `split_words` stands: start and stop."""
    text = text.lower()
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


def hash_words(texts: Iterable[str], known: dict[str, int] | None = None) -> Words:
    """Hash every word of every text; the same word has the same hash in every process.

    `known` may be shared between calls to hash each distinct word once.
    """
    known = {} if known is None else known
    parts: list[np.ndarray] = []
    offsets = [0]
    for text in texts:
        words = split_words(text)
        for word in {word for word in words if word not in known}:
            digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            known[word] = int.from_bytes(digest, "little")
        parts.append(np.fromiter(map(known.__getitem__, words), np.uint64, len(words)))
        offsets.append(offsets[-1] + len(words))
    hashes = np.concatenate(parts) if parts else np.empty(0, np.uint64)
    return Words(hashes, np.asarray(offsets, np.int64))


def gram_hashes(hashes: np.ndarray, n: int) -> np.ndarray:
    """Hashes of all n-grams in a run of words: uint64 [max(0, words - n + 1)]."""
    count = max(0, len(hashes) - n + 1)
    total = np.zeros(count, np.uint64)
    for i in range(n):
        total = mix(total + hashes[i : i + count] + np.uint64(0x9E3779B97F4A7C15))
    return total


def gram_sets(words: Words, n: int) -> list[np.ndarray]:
    """The sorted distinct n-grams of every text; a text of fewer words is one shorter gram."""
    flat = gram_hashes(words.hashes, n)
    sets = []
    for start, stop in zip(words.offsets[:-1], words.offsets[1:]):
        if stop - start >= n:
            sets.append(np.unique(flat[start : stop - n + 1]))
        else:
            sets.append(gram_hashes(words.hashes[start:stop], max(1, int(stop - start))))
    return sets
