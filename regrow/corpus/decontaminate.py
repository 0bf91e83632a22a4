"""Evaluation items found in documents, by word n-grams (GPT-3, App. C)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from regrow.corpus.grams import Words, gram_hashes, hash_words, word_spans
from regrow.corpus.settings import DecontaminateSettings
from regrow.records import Item

SHARED = 10  # items that a gram is said to be of


@dataclass(frozen=True, slots=True)
class Hit:
    """Words [start, stop) of a document that stand in an item."""

    document: int
    item: int
    start: int
    stop: int


def item_texts(item: Item) -> Iterator[str]:
    """What of an item must not be in training text: the question with each answer."""
    question = " ".join([*(message.content for message in item.messages), item.question])
    yield from (f"{question} {answer}" for answer in item.answers or ("",))


@dataclass(frozen=True)
class Wanted:
    """What is looked for: the grams of items, `by_length` in words, each with its items' numbers.

    Of the items that share a gram (the instruction of a benchmark, say) the first ten are named.
    """

    by_length: Mapping[int, Mapping[int, Sequence[int]]]
    too_short: int  # items with too few words to tell

    def find(self, words: Words) -> dict[str, np.ndarray]:
        """All places of wanted grams, as columns: text, item, gram, start and stop in words.

        Sorted by text, start and item.
        """
        found: list[tuple[np.ndarray, ...]] = [tuple(np.empty(0, np.int64) for _ in range(5))]
        for length, grams in sorted(self.by_length.items()):
            flat = gram_hashes(words.hashes, length)
            wanted = np.sort(np.fromiter(grams, np.uint64, len(grams)))
            places = np.minimum(np.searchsorted(wanted, flat), len(wanted) - 1)
            starts = np.flatnonzero(wanted[places] == flat)
            texts = np.searchsorted(words.offsets, starts, side="right") - 1
            inside = starts + length <= words.offsets[texts + 1]
            starts, texts = starts[inside], texts[inside]
            items = [grams[gram] for gram in flat[starts].tolist()]
            counts = np.fromiter(map(len, items), np.int64, len(items))
            own = np.fromiter(chain.from_iterable(items), np.int64)
            starts, texts = np.repeat(starts, counts), np.repeat(texts, counts)
            first = starts - words.offsets[texts]
            found.append((texts, own, flat[starts].astype(np.int64), first, first + length))
        text, item, gram, start, stop = (np.concatenate(column) for column in zip(*found))
        order = np.lexsort((item, start, text))
        return {
            "text": text[order], "item": item[order], "gram": gram[order],
            "start": start[order], "stop": stop[order],
        }  # fmt: skip


def wanted(items: Sequence[Item], settings: DecontaminateSettings) -> Wanted:
    """The grams of items: of `ngram` words and more by their n-grams, shorter ones whole."""
    by_length: dict[int, dict[int, list[int]]] = {}
    too_short = 0
    for number, item in enumerate(items):
        words = hash_words(item_texts(item))
        longest = max(int(length) for length in np.diff(words.offsets))
        too_short += longest < settings.min_words
        for i in range(len(words)):
            own = words.of(i)
            length = min(settings.ngram, len(own))
            if length >= settings.min_words:
                grams = by_length.setdefault(length, {})
                for gram in set(gram_hashes(own, length).tolist()):
                    known = grams.setdefault(gram, [])
                    if number not in known[-1:] and len(known) < SHARED:
                        known.append(number)
    return Wanted(by_length, too_short)


def ordinary(gram: np.ndarray, text: np.ndarray, common: int) -> frozenset[int]:
    """Grams in more than `common` texts: ordinary text that says nothing about an item."""
    pairs = np.unique(np.stack([gram, text], 1), axis=0)[:, 0]
    distinct, counts = np.unique(pairs, return_counts=True)
    return frozenset(distinct[counts > common].tolist())


def find(words: Words, items: Sequence[Item], settings: DecontaminateSettings) -> list[Hit]:
    """The items in a few texts that fit into memory."""
    found = wanted(items, settings).find(words)
    spared = ordinary(found["gram"], found["text"], settings.common)
    rows = zip(*(found[name].tolist() for name in ("text", "item", "start", "stop", "gram")))
    return [Hit(text, item, start, stop) for text, item, start, stop, g in rows if g not in spared]


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
