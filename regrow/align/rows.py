"""Training rows from conversations: packed, masked, and a pure function of (seed, row)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from regrow.corpus.mixture import Schedule, exact_counts
from regrow.corpus.tokenizer import Tokenizer
from regrow.errors import RegrowError
from regrow.records import Conversation
from regrow.seeds import rng


class Rows(Protocol):
    """An endless supply of training rows."""

    def row(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids [context + 1] and, for each target ids[1:], its weight in the loss [context]."""


class TextRows:
    """Rows of a mixture: every token counts."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self._weights = np.ones(schedule.context, dtype=np.float32)

    def row(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Row i of the schedule."""
        return self.schedule.row(i).astype(np.int64), self._weights


class ConversationRows:
    """Conversations shuffled anew each epoch and packed whole; only answers count.

    No conversation is cut in two: what does not fit opens the next row, and the rest of a row is
    padding without weight. A conversation longer than a row keeps its end. Conversations in a row
    are parted by their role tokens only, as documents in pretraining are by end-of-text.
    """

    def __init__(
        self, conversations: Sequence[Conversation], tokenizer: Tokenizer, context: int, seed: int
    ) -> None:
        encoded = [tokenizer.chat(c.messages) for c in conversations]
        self._encoded = [
            (np.asarray(ids[-context:]), np.asarray(mask[-context:], dtype=np.float32))
            for ids, mask in encoded
            if any(mask[-context:])
        ]
        if not self._encoded:
            raise RegrowError("there is no demonstration to learn from; give some with an answer")
        self.context, self.seed, self.eos, self.pad = context, seed, tokenizer.eos, tokenizer.pad
        self._pack = lru_cache(maxsize=2)(self._pack_epoch)
        self._first_rows = [0]  # the first row of each epoch known so far

    def _pack_epoch(self, epoch: int) -> list[list[int]]:
        """Which conversations stand in each row of an epoch; one slot holds end-of-text."""
        rows: list[list[int]] = []
        room = 0
        for index in rng(self.seed, "conversations", epoch).permutation(len(self._encoded)):
            size = len(self._encoded[index][0])
            if not rows or size > room:
                rows.append([])
                room = self.context
            rows[-1].append(int(index))
            room -= size
        return rows

    def row(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Row i, counted over the epochs."""
        while self._first_rows[-1] <= i:
            packed = self._pack(len(self._first_rows) - 1)
            self._first_rows.append(self._first_rows[-1] + len(packed))
        epoch = int(np.searchsorted(self._first_rows, i, side="right")) - 1
        ids = np.full(self.context + 1, self.pad, dtype=np.int64)
        weights = np.zeros(self.context + 1, dtype=np.float32)
        ids[0] = self.eos
        place = 1
        for index in self._pack(epoch)[i - self._first_rows[epoch]]:
            these, mask = self._encoded[index]
            ids[place : place + len(these)] = these
            weights[place : place + len(these)] = mask
            place += len(these)
        return ids, weights[1:]


class MixedRows:
    """Rows of several supplies in fixed shares, from row `start` on; before it, of the first only.

    Which supply row i comes from, and which of its rows, is settled for all `total` rows by seed.
    """

    def __init__(
        self,
        supplies: Sequence[Rows],
        shares: Sequence[float],
        total: int,
        seed: int,
        start: int = 0,
    ) -> None:
        self.supplies = supplies
        counts = exact_counts({str(n): s for n, s in enumerate(shares)}, max(0, total - start))
        late = np.repeat(np.arange(len(shares)), [counts[str(n)] for n in range(len(shares))])
        rng(seed, "mixed rows").shuffle(late)
        self._supply = np.concatenate([np.zeros(min(start, total), dtype=late.dtype), late])
        self._rank = np.zeros(total, dtype=np.int64)
        for n in range(len(shares)):
            here = self._supply == n
            self._rank[here] = np.arange(int(here.sum()))

    def row(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Row i of `total`."""
        return self.supplies[self._supply[i]].row(int(self._rank[i]))


def stack(supply: Rows, first: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, targets and target weights of rows first..first + count, each [count, context]."""
    ids, weights = zip(*(supply.row(i) for i in range(first, first + count)))
    together = np.stack(ids)
    return together[:, :-1], together[:, 1:], np.stack(weights)
