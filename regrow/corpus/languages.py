"""py3langid's model with its byte n-grams found by numpy, all places of a text at once.

The model is naive Bayes on byte n-grams (Lui & Baldwin 2012), found by an automaton. Its state
depends on as many last bytes as the longest n-gram has, so all places are walked side by side, each
from its own few bytes. The answers are py3langid's own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

#: Nigerian Pidgin, which lists and sheets of simple English words are taken for.
_PIDGIN = "pcm"


_BETWEEN = b"\xff"  # in no UTF-8, so that no n-gram goes on behind it
TOGETHER = 512  # texts scored in one go


@dataclass(frozen=True)
class _Model:
    """The automaton and the weights: `moves` [rows * 256], `row` and `feature` [states]."""

    classes: tuple[str, ...]
    weights: np.ndarray  # float16 [features, classes]
    prior: np.ndarray  # float32 [classes]
    moves: np.ndarray
    row: np.ndarray  # where a state's moves begin
    feature: np.ndarray  # -1: none
    depth: int  # bytes of the longest n-gram
    twins: tuple[tuple[int, int], ...]  # columns of one language in two scripts


@cache
def _model() -> _Model:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    loaded = LanguageIdentifier.from_model_file(MODEL_FILE)
    names = tuple(loaded.nb_classes)
    prior = np.asarray(loaded.nb_pc, np.float32)
    prior[names.index(_PIDGIN)] = -np.inf
    moves = np.frombuffer(loaded.tk_nextmove, loaded.tk_nextmove.typecode)  # 40 MB: not copied
    row = np.asarray(loaded.tk_row, np.int32) << 8
    twins = tuple((names.index(n), i) for i, n in enumerate(names) if names.index(n) < i)
    return _Model(
        names, loaded.nb_ptc, prior, moves, row,
        np.asarray(loaded.tk_output, np.int32), _depth(moves, row), twins,
    )  # fmt: skip


def _depth(moves: np.ndarray, row: np.ndarray) -> int:
    """How many bytes lead to the farthest state."""
    rows = moves.reshape(-1, 256)
    reached = np.zeros(len(row), bool)
    reached[0] = True
    front, depth = np.zeros(1, np.int64), -1
    while len(front):
        next_ = np.zeros(len(row), bool)
        next_[rows[np.unique(row[front] >> 8)]] = True
        front, depth = np.flatnonzero(next_ & ~reached), depth + 1
        reached |= next_
    return depth


def _encoded(text: str) -> bytes:
    """As the model was trained: composed, and no text in capitals."""
    text = text.lower() if text.isupper() else text
    return unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")


def _features(codes: np.ndarray, model: _Model) -> np.ndarray:
    """The n-gram that ends at each byte, -1 where none does: int32 [bytes]."""
    state = np.zeros(len(codes), np.int32)
    for back in range(min(model.depth, len(codes)) - 1, -1, -1):
        state[back:] = model.moves[model.row[state[back:]] + codes[: len(codes) - back]]
    return model.feature[state]


def most_likely(texts: Sequence[str]) -> list[tuple[str, float]]:
    """The likeliest language of each text and its probability, 0 where nothing tells: [texts]."""
    batches = (texts[i : i + TOGETHER] for i in range(0, len(texts), TOGETHER))
    return [found for batch in batches for found in _together(list(map(_encoded, batch)))]


def _together(texts: Sequence[bytes]) -> list[tuple[str, float]]:
    """Naive Bayes over the distinct n-grams of each text, their counts dampened."""
    model = _model()
    sizes = np.asarray([len(text) for text in texts])
    found = _features(np.frombuffer(_BETWEEN.join([*texts, b""]), np.uint8), model)
    place = np.flatnonzero(found >= 0)
    text = np.searchsorted(np.cumsum(sizes + 1), place, side="right")
    keys, counts = np.unique(text << 32 | found[place], return_counts=True)
    ends = np.searchsorted(keys >> 32, np.arange(len(texts) + 1))
    used, column = np.unique(keys & 0xFFFFFFFF, return_inverse=True)
    weights = model.weights[used].astype(np.float32)  # once for all texts, which share most
    dampened = np.log1p(counts, dtype=np.float32)[:, None]
    scores = np.tile(model.prior, (len(texts), 1))
    for i, (start, stop) in enumerate(pairwise(ends.tolist())):
        scores[i] += (dampened[start:stop] * weights[column[start:stop]]).sum(0)
    scores -= scores.max(1, keepdims=True)
    likely = np.exp(scores / np.sqrt(np.maximum(1, sizes))[:, None])  # calibrated over lengths
    for first, twin in model.twins:
        likely[:, first] += likely[:, twin]
        likely[:, twin] = 0.0
    likely /= likely.sum(1, keepdims=True)
    best = likely.argmax(1)
    sure = likely[np.arange(len(texts)), best].tolist()
    empty = (ends[:-1] == ends[1:]).tolist()
    return [
        ("und", 0.0) if nothing else (model.classes[i], share)
        for i, share, nothing in zip(best.tolist(), sure, empty)
    ]
