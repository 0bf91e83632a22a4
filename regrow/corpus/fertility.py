"""How finely a tokenizer cuts each kind of text: tokens a word and bytes a token.

Fertility, tokens per word, is 1 where every word is known whole and shows which languages and
formats pay more for the same text (Rust et al. 2021, sec. 3.2).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

#: Language, format, bytes, words and tokens of one document.
Row = tuple[str, str, int, int, int]


def fertility(rows: Iterable[Row]) -> dict[str, dict[str, dict[str, Any]]]:
    """Documents, tokens, tokens per word and bytes per token by language, then format.

    Ratios are over all text of a kind, not means over documents; None where nothing divides.
    """
    sums: defaultdict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros(4, np.int64))
    for language, format_, size, words, tokens in rows:
        sums[language, format_] += 1, size, words, tokens
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for (language, format_), counts in sorted(sums.items()):
        documents, size, words, tokens = map(int, counts)
        out.setdefault(language, {})[format_] = {
            "documents": documents,
            "tokens": tokens,
            "tokens_per_word": round(tokens / words, 3) if words else None,
            "bytes_per_token": round(size / tokens, 3) if tokens else None,
        }
    return out
