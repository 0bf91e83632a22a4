"""How varied a corpus is: shares, entropies, vocabulary, near-copies and quality, by source."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from regrow.corpus.vocabulary import Vocabulary

FIELDS = ("domain", "format", "language")
LISTED = 20
BINS = 20  # of the quality histogram, over [0, 1]


def entropy(counts: Mapping[str, float]) -> float:
    """Shannon entropy in bits."""
    total = sum(counts.values())
    if not total:
        return 0.0
    return abs(math.fsum(n / total * math.log2(n / total) for n in counts.values() if n))


def spread(counts: Mapping[str, int]) -> dict[str, Any]:
    """Entropy, effective number and the shares of the 20 largest groups.

    The effective number is 2 ** entropy: how many equal groups would be as varied.
    """
    total = sum(counts.values())
    bits = entropy(counts)
    largest = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:LISTED]
    return {
        "distinct": len(counts),
        "entropy_bits": round(bits, 4),
        "effective": round(2**bits, 2),
        "shares": {name: round(size / total, 5) for name, size in largest} if total else {},
    }


class Counts:
    """What is counted of one source."""

    def __init__(self) -> None:
        self.documents = self.characters = 0
        self.near_copies = self.compared = 0
        self.fields: dict[str, Counter[str]] = {field: Counter() for field in FIELDS}
        self.quality: Counter[int] = Counter()
        self.vocabulary = Vocabulary()

    def merge(self, other: Counts) -> None:
        """Add what another has counted."""
        self.documents += other.documents
        self.characters += other.characters
        self.near_copies += other.near_copies
        self.compared += other.compared
        for field in FIELDS:
            self.fields[field].update(other.fields[field])
        self.quality.update(other.quality)
        self.vocabulary.merge(other.vocabulary)

    def summary(self) -> dict[str, Any]:
        """The counts as the report has them; what was never given is left out."""
        found: dict[str, Any] = {"documents": self.documents, "characters": self.characters}
        found |= {field: spread(counts) for field, counts in self.fields.items()}
        if self.compared:
            rate = round(self.near_copies / self.compared, 5)
            found["near_copies"] = {"documents": self.near_copies, "rate": rate}
        if self.quality:
            found["quality"] = [self.quality[i] for i in range(BINS)]
        if self.vocabulary.words:
            growth = self.vocabulary.growth()
            found["vocabulary"] = {
                "words": self.vocabulary.words,
                "distinct": growth[-1][1],
                "growth": growth,
            }
        return found


class Diversity:
    """An accumulator: split the documents as you like, merge in any order, get the same numbers."""

    def __init__(self) -> None:
        self.sources: dict[str, Counts] = {}

    def add(
        self,
        fields: Mapping[str, str],
        characters: int,
        *,
        words: np.ndarray | None = None,
        quality: float | None = None,
        near_copy: bool | None = None,
    ) -> None:
        """Count a document: its source, domain, format and language, and what is known of it.

        `words` are its hashed words (uint64 [words]); `near_copy` whether it was taken out as one,
        None where nobody looked.
        """
        own = self.sources.setdefault(fields["source"] or "unknown", Counts())
        own.documents += 1
        own.characters += characters
        for field in FIELDS:
            own.fields[field][fields[field] or "unknown"] += characters
        if words is not None:
            own.vocabulary.add(words)
        if quality is not None:
            own.quality[min(BINS - 1, max(0, int(quality * BINS)))] += 1
        if near_copy is not None:
            own.compared += 1
            own.near_copies += near_copy

    def merge(self, other: Diversity) -> None:
        """Add what another has counted; the other is left as it is."""
        for source, counts in other.sources.items():
            self.sources.setdefault(source, Counts()).merge(counts)

    def summary(self) -> dict[str, Any]:
        """The whole, and under `sources` each source by itself. Shares are of characters."""
        whole = Counts()
        for counts in self.sources.values():
            whole.merge(counts)
        characters = {name: counts.characters for name, counts in self.sources.items()}
        return {
            **whole.summary(),
            "source": spread(characters),
            "sources": {name: self.sources[name].summary() for name in sorted(self.sources)},
        }


def diversity(rows: Iterable[tuple[Mapping[str, str], int]]) -> dict[str, Any]:
    """The summary of (fields, characters) of documents."""
    found = Diversity()
    for fields, characters in rows:
        found.add(fields, characters)
    return found.summary()
