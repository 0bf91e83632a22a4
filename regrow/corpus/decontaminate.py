"""Evaluation items found in documents, by word n-grams (GPT-3, App. C)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from regrow.corpus.grams import Words, gram_hashes, hash_words, word_spans
from regrow.corpus.settings import DecontaminateSettings
from regrow.records import Item


@dataclass(frozen=True, slots=True)
class Hit:
    """Words [start, stop) of a document that stand in an item."""

    document: int
    item: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Findings:
    """All hits, and what was not looked for."""

    hits: tuple[Hit, ...]
    too_short: int  # items with too few words to tell
    common: int  # distinct grams ignored because ordinary text holds them


def item_texts(item: Item) -> Iterator[str]:
    """What of an item must not be in training text: the question with each answer."""
    question = " ".join([*(message.content for message in item.messages), item.question])
    yield from (f"{question} {answer}" for answer in item.answers or ("",))


def _item_grams(
    items: Sequence[Item], settings: DecontaminateSettings
) -> tuple[dict[int, dict[int, int]], int]:
    """Item numbers by gram hash by gram length, and how many items are too short."""
    by_length: dict[int, dict[int, int]] = {}
    too_short = 0
    known: dict[str, int] = {}
    for number, item in enumerate(items):
        words = hash_words(item_texts(item), known)
        longest = max(int(length) for length in np.diff(words.offsets))
        too_short += longest < settings.min_words
        for i in range(len(words)):
            own = words.of(i)
            length = min(settings.ngram, len(own))
            if length >= settings.min_words:
                grams = by_length.setdefault(length, {})
                for gram in gram_hashes(own, length).tolist():
                    grams.setdefault(gram, number)
    return by_length, too_short


def find(words: Words, items: Sequence[Item], settings: DecontaminateSettings) -> Findings:
    """Look for the items in the texts.

    Items of `ngram` words and more are looked for by their n-grams, shorter ones whole with their
    answer. A gram in more than `common` texts is ordinary text and ignored.
    """
    by_length, too_short = _item_grams(items, settings)
    hits: list[Hit] = []
    common = 0
    for length, grams in sorted(by_length.items()):
        flat = gram_hashes(words.hashes, length)
        wanted = np.sort(np.fromiter(grams, np.uint64, len(grams)))
        places = np.minimum(np.searchsorted(wanted, flat), len(wanted) - 1)
        starts = np.flatnonzero(wanted[places] == flat)
        documents = np.searchsorted(words.offsets, starts, side="right") - 1
        inside = starts + length <= words.offsets[documents + 1]
        starts, documents = starts[inside], documents[inside]
        _, texts_of = np.unique(
            np.stack([flat[starts], documents.astype(np.uint64)]), axis=1, return_index=True
        )
        distinct, counts = np.unique(flat[starts[texts_of]], return_counts=True)
        ordinary = set(distinct[counts > settings.common].tolist())
        common += len(ordinary)
        for start, document in zip(starts.tolist(), documents.tolist()):
            gram = int(flat[start])
            if gram not in ordinary:
                first = start - int(words.offsets[document])
                hits.append(Hit(document, grams[gram], first, first + length))
    hits.sort(key=lambda hit: (hit.document, hit.start, hit.item))
    return Findings(tuple(hits), too_short, common)


def spans(text: str, hits: Sequence[Hit]) -> list[tuple[int, int]]:
    """Character spans of the hits in their text, joined where they touch."""
    where = word_spans(text)
    joined: list[tuple[int, int]] = []
    for hit in hits:
        start, stop = where[hit.start][0], where[hit.stop - 1][1]
        if joined and start <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


def clean_pieces(text: str, hits: Sequence[Hit], settings: DecontaminateSettings) -> list[str]:
    """What is left of a text when each hit goes with a window on both sides.

    Pieces shorter than the window are dropped, and the whole text when it would fall into more
    than `max_pieces` or loses over half of itself.
    """
    pieces = []
    position = 0
    for start, stop in spans(text, hits):
        pieces.append(text[position : max(position, start - settings.window)])
        position = stop + settings.window
    pieces.append(text[position:])
    kept = [piece.strip() for piece in pieces if len(piece.strip()) >= max(1, settings.window)]
    if len(kept) > settings.max_pieces or sum(map(len, kept)) < 0.5 * len(text):
        return []
    return kept
