"""How varied a corpus is: shares and entropies of its sources, sites, formats and languages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

FIELDS = ("source", "domain", "format", "language")
LISTED = 20


def entropy(counts: Mapping[str, float]) -> float:
    """Shannon entropy in bits."""
    total = sum(counts.values())
    return -sum(n / total * math.log2(n / total) for n in counts.values() if n) if total else 0.0


def diversity(rows: Iterable[tuple[Mapping[str, str], int]]) -> dict[str, Any]:
    """From (fields, characters) of documents: counts, entropy and effective number by field.

    The effective number is 2 ** entropy: how many equal groups would be as varied. Entropies are
    over characters. The largest 20 groups of each field are listed with their share.
    """
    counts: dict[str, Counter[str]] = {field: Counter() for field in FIELDS}
    documents = characters = 0
    for fields, size in rows:
        documents += 1
        characters += size
        for field in FIELDS:
            counts[field][fields[field] or "unknown"] += size
    summary: dict[str, Any] = {"documents": documents, "characters": characters}
    for field, found in counts.items():
        bits = entropy(found)
        summary[field] = {
            "distinct": len(found),
            "entropy_bits": round(bits, 4),
            "effective": round(2**bits, 2),
            "shares": {
                name: round(size / characters, 5) for name, size in found.most_common(LISTED)
            }
            if characters
            else {},
        }
    return summary


class Diversity:
    """Interim."""

    def __init__(self) -> None:
        self.rows: Counter[tuple[str, ...]] = Counter()
        self.documents = 0

    def add(self, page: Any, text: str) -> None:
        self.rows[tuple(getattr(page, f) for f in FIELDS)] += page.characters
        self.documents += 1

    def merge(self, other: Diversity) -> None:
        self.rows.update(other.rows)
        self.documents += other.documents

    def to_json(self) -> Any:
        return [self.documents, [[*k, v] for k, v in self.rows.items()]]

    @staticmethod
    def from_json(told: Any) -> Diversity:
        d = Diversity()
        d.documents = told[0]
        for *k, v in told[1]:
            d.rows[tuple(k)] += v
        return d

    def summary(self) -> dict[str, Any]:
        out = diversity((dict(zip(FIELDS, k)), v) for k, v in self.rows.items())
        out["documents"] = self.documents
        return out
