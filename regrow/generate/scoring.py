"""Log-probabilities of given continuations, with whatever their prompts share computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from regrow.errors import RegrowError
from regrow.generate.prefixes import prefill, shared_prefixes
from regrow.memory import keep_freed
from regrow.model.decoder import Decoder
from regrow.model.rows import right_pad, row_states

#: So many tokens at once keep a processor busy; from there on so much of a batch is no padding.
FULL, EVEN = 512, 0.9
#: Continuations of a prompt stand in one row if that spares this share of the tokens, and in one
#: more where they have more tokens than the prompt and than so many.
BRANCHED, LONGEST = 0.1, 256

#: A prompt's tokens and those of its continuation.
Pair = tuple[list[int], list[int]]


@dataclass(frozen=True, slots=True)
class Scored:
    """Log-probabilities (float32) of a continuation, and whether each token was the likeliest."""

    logprobs: np.ndarray
    greedy: bool


@contextmanager
def reading(model: Decoder) -> Iterator[None]:
    """Without gradients and dropout; the model's own mode comes back afterwards."""
    keep_freed()  # or the kernel clears fresh pages for every large score matrix: half the time
    training = model.training
    if training:
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if training:
            model.train()


def score(
    model: Decoder, pairs: Sequence[Pair], batch: int = 64, share: bool = True
) -> list[Scored]:
    """Log-probabilities of continuations given their prompts, in order.

    Prompts that begin alike (the same examples before the question) share what they have in
    common, and continuations of one prompt (multiple choice) the whole prompt; `share` False
    computes every row on its own. Raises RegrowError for an empty prompt (give the end-of-text id)
    or a pair longer than the context.
    """
    for prompt, continuation in pairs:
        if not prompt or not continuation:
            raise RegrowError("a prompt and a continuation to score need at least one token each")
        if len(prompt) + len(continuation) - 1 > model.config.context:
            raise RegrowError(
                f"{len(prompt) + len(continuation)} tokens to score do not fit the context of "
                f"{model.config.context}; shorten the prompt"
            )
    rows = _rows(pairs, share)
    if share:
        for row, cut in zip(rows, shared_prefixes([row.prompt[:-1] for row in rows])):
            row.cut = cut
    rows.sort(key=lambda row: (row.kind, -row.cut, row.prompt[: row.cut], -row.size))
    out: list[Scored | None] = [None] * len(pairs)
    with reading(model):
        head = model.head_weight.float()
        for some in _side_by_side(rows, batch):
            for i, scored in _scored(model, head, some):
                out[i] = scored
    return [scored for scored in out if scored is not None]


@dataclass(slots=True)
class _Row:
    """A prompt, and after it, side by side, continuations that go on from it (of which pairs).

    Of a continuation all but the last token is read, which nothing follows. The first `cut` tokens
    of the prompt are read once for several rows.
    """

    prompt: list[int]
    continuations: list[list[int]] = field(default_factory=list)
    members: list[int] = field(default_factory=list)
    cut: int = 0

    @property
    def size(self) -> int:
        """How many tokens are read."""
        return len(self.prompt) - self.cut + sum(len(one) - 1 for one in self.continuations)

    @property
    def kind(self) -> str:
        """How it is read: over a beginning that others share, as a tree, or as one text."""
        if self.cut:
            return "over"
        return "tree" if sum(len(one) > 1 for one in self.continuations) > 1 else "text"

    def tokens(self) -> tuple[list[int], list[int], list[int]]:
        """Ids, positions, and branches: 0 for the prompt, 1, 2 ... for its continuations."""
        ids, end = self.prompt[self.cut :], len(self.prompt)
        positions, branches = list(range(self.cut, end)), [0] * len(ids)
        for number, one in enumerate(self.continuations, 1):
            ids = ids + one[:-1]
            positions += range(end, end + len(one) - 1)
            branches += [number] * (len(one) - 1)
        return ids, positions, branches

    def states(self) -> list[int]:
        """Where the hidden states stand that tell the tokens of the continuations, in order."""
        last = stop = len(self.prompt) - self.cut - 1
        places = []
        for one in self.continuations:
            places += [last, *range(stop + 1, stop + len(one))]
            stop += len(one) - 1
        return places


def _rows(pairs: Sequence[Pair], share: bool) -> list[_Row]:
    """The continuations of a prompt in one row, or a few, if that spares enough."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for i, (prompt, _) in enumerate(pairs):
        alike.setdefault(tuple(prompt), []).append(i)
    rows: list[_Row] = []
    for members in alike.values():
        prompt = pairs[members[0]][0]
        spared = (len(members) - 1) * len(prompt)
        every = sum(len(prompt) + len(pairs[i][1]) - 1 for i in members)
        together = share and spared >= BRANCHED * every
        room = -1  # for tokens of continuations in the row under way
        for i in members:
            more = len(pairs[i][1]) - 1
            if more > room:
                rows.append(_Row(prompt))
                room = max(len(prompt), LONGEST, more) if together else -1
            room -= more
            rows[-1].continuations.append(pairs[i][1])
            rows[-1].members.append(i)
    return rows


def _side_by_side(rows: Sequence[_Row], batch: int) -> Iterator[list[_Row]]:
    """Rows of a kind in batches; of such as fill the processor only those that are alike long."""
    some: list[_Row] = []
    for row in rows:
        sizes = [row.size, *(one.size for one in some)]
        filled = max(sum(sizes[1:]), row.size) >= FULL
        uneven = filled and sum(sizes) < EVEN * max(sizes) * len(sizes)
        if some and (len(some) == batch or uneven or row.kind != some[-1].kind):
            yield some
            some = []
        some.append(row)
    if some:
        yield some


def _scored(model: Decoder, head: Tensor, rows: Sequence[_Row]) -> Iterator[tuple[int, Scored]]:
    """The places of the pairs in these rows, which are of one kind, and what they score."""
    device = model.embedding.device
    ids, positions, branches = zip(*(row.tokens() for row in rows))
    ids_bt, lengths = right_pad(ids, device=device)
    kind = rows[0].kind
    if kind == "text":
        hidden = row_states(model, ids_bt, lengths)
    else:
        cache = None
        if kind == "over":
            stems = [tuple(row.prompt[: row.cut]) for row in rows]
            places = {stem: n for n, stem in enumerate(dict.fromkeys(stems))}
            _, trunk = prefill(model, list(places), [0] * len(places))
            owner = torch.tensor([places[stem] for stem in stems], device=device)
            cache = trunk.branch(owner, ids_bt.shape[1])
        real = torch.arange(ids_bt.shape[1], device=device) < lengths[:, None]
        where, of = (right_pad(one, device=device)[0] for one in (positions, branches))
        hidden = model(ids_bt, where, real, cache, branches_bt=of)
    wanted = torch.cat([hidden[n, row.states()] for n, row in enumerate(rows)])
    targets = [t for row in rows for one in row.continuations for t in one]
    logprobs, greedy = _picked(model, head, wanted, torch.tensor(targets, device=device))
    at = 0
    for row in rows:
        for i, one in zip(row.members, row.continuations):
            part = slice(at, at + len(one))
            yield i, Scored(logprobs[part], bool(greedy[part].all()))
            at += len(one)


def _picked(
    model: Decoder, head: Tensor, hidden_nd: Tensor, targets_n: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """The log-probability of each target after its hidden state, and whether it is the likeliest;
    both [n]."""
    logprobs, greedy = [], []
    for low in range(0, len(targets_n), 4096):
        target = targets_n[low : low + 4096]
        logits = model.logits(hidden_nd[low : low + 4096], head)
        logprobs.append(torch.log_softmax(logits, -1).gather(1, target[:, None]).squeeze(1))
        greedy.append(logits.argmax(-1) == target)
    return torch.cat(logprobs).cpu().numpy(), torch.cat(greedy).cpu().numpy()
