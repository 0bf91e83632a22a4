"""Gopher's rules on words and lines (Rae et al. 2021, A.1.1), written once for every engine.

Each statistic is a count of regular-expression matches; `broken` takes Python integers and column
expressions of Polars and Daft alike, so that all engines decide the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COUNTS = {
    "words": r"\S+",
    "characters": r"\S",
    "lettered": r"[^\W\d_]\S*",
    "hashes": r"#",
    "ellipses": r"\.\.\.|…",
    "lines": r"(?m)^.*\S.*$",
    "bullets": r"(?m)^[ \t]*[-•*‣◦▪●]",
    "trailing": r"(?m)(?:\.\.\.|…)[ \t]*$",
}
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
PRESENT = {word: rf"(?i)(?:^|\s){word}(?:\s|$)" for word in STOP_WORDS}


def broken(count: Mapping[str, Any], stop_words: Any) -> Any:
    """Whether a text goes; products instead of shares, so that no engine rounds differently."""
    return (
        (count["words"] < 50)
        | (count["words"] > 100_000)
        | (count["characters"] < 3 * count["words"])
        | (count["characters"] > 10 * count["words"])
        | (10 * count["hashes"] > count["words"])
        | (10 * count["ellipses"] > count["words"])
        | (10 * count["bullets"] > 9 * count["lines"])
        | (10 * count["trailing"] > 3 * count["lines"])
        | (10 * count["lettered"] < 8 * count["words"])
        | (stop_words < 2)
    )
