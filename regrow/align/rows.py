"""Training rows from conversations: packed, masked, and a pure function of (seed, row)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from regrow.corpus.mixture import Schedule, exact_counts
from regrow.corpus.reads import Reading
from regrow.corpus.tokenizer import Tokenizer
from regrow.errors import RegrowError
from regrow.files import sha256_json
from regrow.records import Conversation, Message
from regrow.seeds import rng


class Rows(Protocol):
    """An endless supply of training rows."""

    def row(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids [context + 1] and, for each target ids[1:], its weight in the loss [context]."""

    def parts(self, i: int) -> np.ndarray:
        """Which document each input ids[:-1] belongs to, numbered within the row [context]."""

    def readings(self, first: int, end: int) -> Iterator[Reading]:
        """What rows first..end read of which documents."""

    def told(self) -> dict[str, Any]:
        """What makes the same rows again, for the edge record."""


class TextRows:
    """Rows of a mixture: every token counts."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self._weights = np.ones(schedule.context, dtype=np.float32)

    def row(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Row i of the schedule."""
        return self.schedule.row(i).astype(np.int64), self._weights

    def parts(self, i: int) -> np.ndarray:
        """The documents of row i."""
        return self.schedule.parts_of(i)

    def readings(self, first: int, end: int) -> Iterator[Reading]:
        """What the schedule read."""
        return self.schedule.readings(first, end)

    def told(self) -> dict[str, Any]:
        """The schedule's values."""
        return {"kind": "text", **self.schedule.told()}


def turns_of(talk: Conversation, tokenizer: Tokenizer) -> tuple[Message, ...]:
    """The turns of a conversation as the chat template has them: without the system's where the
    template knows none. Raises RegrowError where it leaves out any other."""
    turns = talk.messages
    if turns[0].role == "system" and not tokenizer.holds_system:
        turns = turns[1:]
    if role := tokenizer.drops(turns):
        raise RegrowError(
            f"the chat template leaves out a turn of the {role}; give the imported folder one that "
            "keeps all turns (chat_template.jinja) and import it again"
        )
    return turns


def laid_out(talk: Conversation, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Ids and loss mask of a conversation."""
    return tokenizer.chat(turns_of(talk, tokenizer))


def asked_ids(prompt: Conversation, tokenizer: Tokenizer) -> list[int]:
    """Ids of a prompt up to where its answer begins."""
    return tokenizer.chat(turns_of(prompt, tokenizer), answer=True)[0]


def answered_ids(talk: Conversation, tokenizer: Tokenizer) -> tuple[list[int], int]:
    """Ids of a conversation up to the end of its last answer, as those that a model gives end:
    without what a template writes between turns; and where that answer begins."""
    ids, mask = laid_out(talk, tokenizer)
    after = mask[::-1].index(1) if 1 in mask else 0
    before = replace(talk, messages=talk.messages[:-1])
    return ids[: len(ids) - after], len(asked_ids(before, tokenizer))


class ConversationRows:
    """Conversations shuffled anew each epoch and packed whole; only answers count.

    No conversation is cut in two: what does not fit opens the next row, and the rest of a row is
    padding without weight. A conversation longer than a row keeps its end. `parts` tells the
    conversations of a row apart; across them nothing but their role tokens parts them. `name` says
    what they are in the edge record, `layout` what the rows leave out.
    """

    def __init__(
        self,
        conversations: Sequence[Conversation],
        tokenizer: Tokenizer,
        context: int,
        seed: int,
        name: str = "conversations",
    ) -> None:
        self.name, self.conversations = name, conversations
        encoded = [laid_out(talk, tokenizer) for talk in conversations]
        self._numbers = [n for n, (_, mask) in enumerate(encoded) if any(mask[-context:])]
        self._encoded = [
            (np.asarray(ids[-context:]), np.asarray(mask[-context:], dtype=np.float32))
            for ids, mask in (encoded[n] for n in self._numbers)
        ]
        if not self._encoded:
            raise RegrowError("there is no demonstration to learn from; give some with an answer")
        systems = sum(talk.messages[0].role == "system" for talk in conversations)
        self.layout = {
            "longer_than_a_row": sum(len(ids) > context for ids, _ in encoded),
            "without_an_answer_in_a_row": len(encoded) - len(self._numbers),
            "system_turns_left_out": 0 if tokenizer.holds_system else systems,
        }
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

    def _packed(self, i: int) -> tuple[int, list[int]]:
        """The epoch of row i, and which conversations stand in it."""
        while self._first_rows[-1] <= i:
            packed = self._pack(len(self._first_rows) - 1)
            self._first_rows.append(self._first_rows[-1] + len(packed))
        epoch = int(np.searchsorted(self._first_rows, i, side="right")) - 1
        return epoch, self._pack(epoch)[i - self._first_rows[epoch]]

    def row(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Row i, counted over the epochs."""
        ids = np.full(self.context + 1, self.pad, dtype=np.int64)
        weights = np.zeros(self.context + 1, dtype=np.float32)
        ids[0] = self.eos
        place = 1
        for index in self._packed(i)[1]:
            these, mask = self._encoded[index]
            ids[place : place + len(these)] = these
            weights[place : place + len(these)] = mask
            place += len(these)
        return ids, weights[1:]

    def parts(self, i: int) -> np.ndarray:
        """Each conversation of row i, the end-of-text before them and the padding on their own."""
        sizes = [1, *(len(self._encoded[index][0]) for index in self._packed(i)[1])]
        sizes.append(self.context + 1 - sum(sizes))
        return np.repeat(np.arange(len(sizes)), sizes)[:-1]

    def readings(self, first: int, end: int) -> Iterator[Reading]:
        """What rows first..end read, a row at a time; documents are numbers of conversations."""
        for i in range(first, end):
            epoch, own = self._packed(i)
            yield Reading(
                self.name,
                epoch,
                np.asarray([self._numbers[index] for index in own]),
                np.asarray([int(self._encoded[index][1].sum()) for index in own]),
                np.full(len(own), i),
            )

    def told(self) -> dict[str, Any]:
        """What they are, with a digest of their text."""
        digest = sha256_json([c.to_row() for c in self.conversations])
        return {
            "kind": "conversations", "name": self.name, "context": self.context,
            "seed": self.seed, "count": len(self.conversations), "sha256": digest,
        }  # fmt: skip


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
        self._told = {"shares": list(shares), "total": total, "seed": seed, "start": start}
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

    def parts(self, i: int) -> np.ndarray:
        """The documents of row i."""
        return self.supplies[self._supply[i]].parts(int(self._rank[i]))

    def readings(self, first: int, end: int) -> Iterator[Reading]:
        """What rows first..end read; rows of a supply follow each other."""
        for number, supply in enumerate(self.supplies):
            rows = first + np.flatnonzero(self._supply[first:end] == number)
            if len(rows):
                rank = int(self._rank[rows[0]])
                for reading in supply.readings(rank, rank + len(rows)):
                    yield replace(reading, rows=rows[reading.rows - rank])

    def told(self) -> dict[str, Any]:
        """What the supplies tell, and how they are mixed."""
        return {"kind": "mixed", "of": [s.told() for s in self.supplies], **self._told}


def stack(supply: Rows, first: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, targets and target weights of rows first..first + count, each [count, context]."""
    ids, weights = zip(*(supply.row(i) for i in range(first, first + count)))
    together = np.stack(ids)
    return together[:, :-1], together[:, 1:], np.stack(weights)


def stack_parts(supply: Rows, first: int, count: int) -> np.ndarray:
    """The documents of the inputs that `stack` gives: [count, context], numbered in each row."""
    return np.stack([supply.parts(i) for i in range(first, first + count)])


def rows_again(told: Mapping[str, Any], shards: Any, conversations: Any) -> Rows:
    """The rows that a supply's `told` describes.

    `shards()` opens the corpus; `conversations(told)` gives the conversations and the tokenizer.
    Raises RegrowError where the conversations are not those that were learnt from.
    """
    if told["kind"] == "text":
        return TextRows(
            Schedule(
                shards(), told["mixture"], told["context"], told["seed"], told["rows"],
                told["max_epochs"],
            )
        )  # fmt: skip
    if told["kind"] == "mixed":
        supplies = [rows_again(one, shards, conversations) for one in told["of"]]
        return MixedRows(supplies, told["shares"], told["total"], told["seed"], told["start"])
    given, tokenizer = conversations(told["name"])
    rows = ConversationRows(given, tokenizer, told["context"], told["seed"], told["name"])
    if rows.told()["sha256"] != told["sha256"]:
        raise RegrowError(f"the {told['name']} are not those that were learnt from")
    return rows
