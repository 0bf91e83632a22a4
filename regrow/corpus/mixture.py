"""Which tokens stand in which training row: a pure function of (seed, row).

Sources are sampled without replacement, each reshuffled when it is used up (GPT-3, sec. 2.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from regrow.corpus.reads import Reading
from regrow.corpus.shards import Shards
from regrow.errors import RegrowError
from regrow.seeds import rng


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens [start, stop) of one document, as they stand in a row."""

    source: str
    document: str
    epoch: int
    start: int
    stop: int


def temperature_weights(tokens: Mapping[str, int], temperature: float) -> dict[str, float]:
    """Weights in proportion to tokens ** (1 / temperature), summing to 1.

    1 keeps the sizes, more lifts small sources, infinity makes all equal (Arivazhagan et al. 2019,
    sec. 4.2; XLM-R and mT5 give the exponent, 0.3). Raises RegrowError at 0 or less.
    """
    if not temperature > 0:
        raise RegrowError(f"the temperature of a mixture is {temperature}; give more than 0")
    powers = {source: count ** (1 / temperature) for source, count in tokens.items() if count}
    return {source: power / sum(powers.values()) for source, power in powers.items()}


def shares_of(
    weights: Mapping[str, float],
    tokens: Mapping[str, int],
    total: int,
    max_epochs: float | None = None,
) -> dict[str, float]:
    """Shares that sum to 1 over `total` tokens, no source repeated more than `max_epochs` times.

    What a capped source gives up goes to the others in proportion to their weights. Raises
    RegrowError on an unknown, empty or negatively weighted source, or when all are capped.
    """
    for source, weight in weights.items():
        if source not in tokens:
            raise RegrowError(
                f"the mixture names {source!r}, which the corpus lacks; it has {', '.join(tokens)}"
            )
        if not 0 <= weight < float("inf"):
            raise RegrowError(f"the weight of {source!r} is {weight}; give a number of 0 or more")
        if weight > 0 and tokens[source] == 0:
            raise RegrowError(f"source {source!r} has no tokens left; drop it from the mixture")
    free = {source: weight for source, weight in weights.items() if weight > 0}
    if not free:
        raise RegrowError("no source of the mixture has a weight above 0; give one")
    shares: dict[str, float] = {}
    while free:
        left = 1.0 - sum(shares.values())
        scale = left / sum(free.values())
        capped = {
            source: max_epochs * tokens[source] / total
            for source, weight in free.items()
            if max_epochs is not None and weight * scale * total > max_epochs * tokens[source]
        }
        if not capped:
            return shares | {source: weight * scale for source, weight in free.items()}
        shares |= capped
        free = {source: weight for source, weight in free.items() if source not in capped}
    raise RegrowError(
        f"{total} tokens need more than {max_epochs} epochs of every source; "
        "train on fewer tokens, add documents or raise the limit on epochs"
    )


def exact_counts(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers that sum to `total` in these shares, by largest remainder."""
    scale = total / sum(shares.values())
    counts = {source: int(share * scale) for source, share in shares.items()}
    by_remainder = sorted(shares, key=lambda source: counts[source] - shares[source] * scale)
    for source in by_remainder[: total - sum(counts.values())]:
        counts[source] += 1
    return counts


class Schedule:
    """Rows of `context + 1` tokens from weighted sources.

    Every source is an endless stream: its documents shuffled anew by seed in each epoch and
    concatenated. Row k of a source is stream[k * context : (k + 1) * context + 1], so rows of a
    source overlap by one token and no target is skipped. The sources of rows 0..rows_total are
    spread evenly with a seeded jitter: shares are exact over the whole and nearly so over any
    prefix.
    """

    def __init__(
        self,
        shards: Shards,
        weights: Mapping[str, float],
        context: int,
        seed: int,
        rows_total: int,
        max_epochs: float | None = None,
    ) -> None:
        if context < 1 or rows_total < 1:
            raise RegrowError(
                f"context {context} and rows {rows_total} must be at least 1; train on more tokens"
            )
        tokens = {source: shards.count(source) for source in shards.sources}
        shares = shares_of(weights, tokens, rows_total * context, max_epochs)
        self.shards = shards
        self.context = context
        self.seed = seed
        self.rows_total = rows_total
        self.weights, self.max_epochs = dict(weights), max_epochs
        self.names = tuple(sorted(shares))
        asked = sum(weights.values())
        #: Sources that `max_epochs` left with less than their weight asks for.
        self.capped = tuple(s for s in self.names if shares[s] < weights[s] / asked * (1 - 1e-9))
        self.counts = exact_counts({name: shares[name] for name in self.names}, rows_total)
        self._source, self._rank = self._order()
        self._layout = lru_cache(maxsize=2 * len(self.names))(self._lay_out)

    def _order(self) -> tuple[np.ndarray, np.ndarray]:
        """Source index and rank within the source of every row, both [rows_total]."""
        times = [
            (np.arange(count) + rng(self.seed, "mixture", name).random(count)) / max(count, 1)
            for name, count in ((name, self.counts[name]) for name in self.names)
        ]
        sources = np.repeat(np.arange(len(times), dtype=np.int32), [len(t) for t in times])
        ranks = np.concatenate([np.arange(len(t)) for t in times])
        order = np.argsort(np.concatenate(times), kind="stable")
        return sources[order], ranks[order]

    def _lay_out(self, source: str, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Documents of an epoch in order [d] and where each starts in the epoch [d + 1]."""
        lengths = np.diff(self.shards.offsets(source))
        order = rng(self.seed, "epoch", source, epoch).permutation(len(lengths))
        return order, np.concatenate([[0], np.cumsum(lengths[order])])

    def _pieces(self, row: int) -> list[tuple[str, int, int, int, int]]:
        """(source, epoch, document number, start, stop) of all that stands in a row."""
        if not 0 <= row < self.rows_total:
            raise IndexError(f"row {row} of {self.rows_total}")
        source = self.names[self._source[row]]
        position = int(self._rank[row]) * self.context
        wanted = self.context + 1
        size = self.shards.count(source)
        pieces: list[tuple[str, int, int, int, int]] = []
        while wanted:
            epoch, within = divmod(position, size)
            order, starts = self._layout(source, epoch)
            place = int(np.searchsorted(starts, within, side="right")) - 1
            while wanted and place < len(order):
                start = within - int(starts[place])
                take = min(wanted, int(starts[place + 1]) - within)
                if take:
                    pieces.append((source, epoch, int(order[place]), start, start + take))
                wanted, within, position = wanted - take, within + take, position + take
                place += 1
        return pieces

    def row(self, i: int) -> np.ndarray:
        """Tokens of row i: int64 [context + 1]; inputs are [:-1], targets are [1:]."""
        parts = []
        for source, _, document, start, stop in self._pieces(i):
            base = int(self.shards.offsets(source)[document])
            parts.append(self.shards.tokens(source)[base + start : base + stop])
        return np.concatenate(parts).astype(np.int64)

    def rows(self, i: int, n: int) -> np.ndarray:
        """Rows i to i + n: int64 [n, context + 1]."""
        return np.stack([self.row(row) for row in range(i, i + n)])

    def source_of(self, i: int) -> str:
        """The source of row i."""
        return self.names[self._source[i]]

    def documents_of(self, i: int) -> list[Piece]:
        """What row i holds, in order: the answer to 'which documents had this node seen?'"""
        found = []
        for source, epoch, document, start, stop in self._pieces(i):
            id_ = self.shards.document_ids(source)[document]
            found.append(Piece(source, id_, epoch, start, stop))
        return found

    def parts_of(self, i: int) -> np.ndarray:
        """Which document each input token of row i belongs to, numbered from 0: [context]."""
        lengths = [stop - start for *_, start, stop in self._pieces(i)]
        return np.repeat(np.arange(len(lengths)), lengths)[:-1]

    def readings(self, first: int, end: int) -> Iterator[Reading]:
        """What rows first..end read, by source and epoch.

        Rows of a source follow each other in its stream, so a stretch of rows is one stretch of
        every stream and no row need be looked at.
        """
        for number, source in enumerate(self.names):
            rows = first + np.flatnonzero(self._source[first:end] == number)
            if not len(rows):
                continue
            rank, size = int(self._rank[rows[0]]), self.shards.count(source)
            start, stop = rank * self.context, (rank + len(rows)) * self.context + 1
            for epoch in range(start // size, (stop - 1) // size + 1):
                order, starts = self._layout(source, epoch)
                low, high = max(0, start - epoch * size), min(size, stop - epoch * size)
                place = int(np.searchsorted(starts, low, side="right")) - 1
                past = int(np.searchsorted(starts, high, side="left"))
                begins = np.maximum(starts[place:past], low)
                tokens = np.minimum(starts[place + 1 : past + 1], high) - begins
                own = (epoch * size + begins - 1) // self.context - rank
                tokens[0] -= epoch * size + low == start  # an input only
                yield Reading(source, epoch, order[place:past], tokens, rows[np.maximum(own, 0)])

    def told(self) -> dict[str, Any]:
        """What makes the same schedule again over the same shards, as JSON values."""
        return {
            "mixture": self.weights, "context": self.context, "seed": self.seed,
            "rows": self.rows_total, "max_epochs": self.max_epochs,
        }  # fmt: skip

    def report(self) -> dict[str, Any]:
        """Shares as they came out, epochs, and the sources that `max_epochs` cut."""
        mixture = {name: self.counts[name] / self.rows_total for name in self.names}
        return {"mixture": mixture, "epochs": self.epochs(), "capped": list(self.capped)}

    def epochs(self) -> dict[str, float]:
        """How often each source is read over all rows."""
        return {
            name: self.counts[name] * self.context / self.shards.count(name) for name in self.names
        }
