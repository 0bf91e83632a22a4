"""What stretches of training rows read of the documents: how often, how much, and where first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Reading:
    """What a stretch of rows read of one source in one epoch.

    Arrays over its documents [d]: their numbers within the source, how many of their tokens were
    learnt from (as targets; the very first token of a stretch is an input only), and the first
    row in which each stands.
    """

    source: str
    epoch: int
    documents: np.ndarray
    tokens: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True, slots=True)
class Tally:
    """All that was read of one source, over its distinct documents in order [d].

    `times` counts the epochs in which a document stood in a row, whole or in part.
    """

    documents: np.ndarray
    times: np.ndarray
    tokens: np.ndarray
    first_row: np.ndarray


def tally(readings: Iterable[Reading]) -> dict[str, Tally]:
    """The readings of each source added up."""
    by_source: dict[str, list[Reading]] = {}
    for reading in readings:
        by_source.setdefault(reading.source, []).append(reading)
    return {source: _add_up(own) for source, own in by_source.items()}


def _add_up(readings: list[Reading]) -> Tally:
    read = np.concatenate([r.documents for r in readings])
    epochs = np.concatenate([np.full(len(r.documents), r.epoch) for r in readings])
    documents, place = np.unique(read, return_inverse=True)
    tokens = np.zeros(len(documents), np.int64)
    np.add.at(tokens, place, np.concatenate([r.tokens for r in readings]))
    first = np.full(len(documents), np.iinfo(np.int64).max)
    np.minimum.at(first, place, np.concatenate([r.rows for r in readings]))
    once = np.unique(epochs * len(documents) + place)  # two stretches of one epoch count once
    times = np.bincount(once % len(documents), minlength=len(documents))
    return Tally(documents, times, tokens, first)
