"""Log-probabilities of given continuations, with whatever their prompts share computed once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regrow.errors import RegrowError
from regrow.generate.prefixes import SPARES, prefill, shared_prefixes
from regrow.memory import keep_freed
from regrow.model.decoder import Decoder
from regrow.model.rows import right_pad, row_states

#: So many tokens at once keep a processor busy; from there on so much of a batch is no padding.
FULL, EVEN = 512, 0.9

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
    out: list[Scored | None] = [None] * len(pairs)
    # A stem is what a pair's row goes on from: the whole prompt but its last token, whose output is
    # the first that counts, or what that has in common with others; empty where it is read whole.
    whole = [tuple(prompt[:-1]) for prompt, _ in pairs]
    times = Counter(whole) if share else Counter()
    spared = sum(len(stem) * (n - 1) for stem, n in times.items())
    every = sum(len(prompt) + len(continuation) - 1 for prompt, continuation in pairs)
    common = {stem for stem, n in times.items() if n > 1 and spared >= SPARES * every}
    cuts = dict(zip(times, shared_prefixes(list(times))))
    stems = [s if s in common else s[: cuts.get(s, 0)] for s in whole]
    alone = [i for i, stem in enumerate(stems) if not stem]
    alone.sort(key=lambda i: -len(whole[i]) - len(pairs[i][1]))
    over = [i for i, stem in enumerate(stems) if stem]
    over.sort(key=lambda i: (whole[i] in common, -cuts[whole[i]], whole[i][: cuts[whole[i]]],
                             -len(whole[i]), whole[i]))  # fmt: skip
    with reading(model):
        for low in range(0, len(alone), batch):
            _score_whole(model, pairs, alone[low : low + batch], out)
        for some in _side_by_side(over, whole, cuts, batch):
            _score_over(model, pairs, some, [stems[i] for i in some], cuts, out)
    return [scored for scored in out if scored is not None]


def _side_by_side(
    order: Sequence[int],
    whole: Sequence[tuple[int, ...]],
    cuts: Mapping[tuple[int, ...], int],
    batch: int,
) -> Iterator[list[int]]:
    """Pairs in batches; of prompts that fill the processor only such as are alike long."""
    some: list[int] = []
    read: list[int] = []  # tokens of the prompts in `some`
    for i in order:
        size = len(whole[i]) - cuts[whole[i]]
        new = not some or whole[i] != whole[some[-1]]
        padded = max([*read, size]) * (len(read) + 1)
        uneven = max(sum(read), size) >= FULL and sum(read) + size < EVEN * padded
        if some and (len(some) == batch or (new and uneven)):
            yield some
            some, read, new = [], [], True
        some.append(i)
        read += [size] if new else []
    if some:
        yield some


def _score_whole(
    model: Decoder, pairs: Sequence[Pair], chosen: list[int], out: list[Scored | None]
) -> None:
    """Causal rows padded on the right, which no real token sees."""
    rows = [(pairs[i][0] + pairs[i][1])[:-1] for i in chosen]
    hidden = row_states(model, *right_pad(rows, device=model.embedding.device))
    _collect(model, hidden, [len(pairs[i][0]) - 1 for i in chosen], pairs, chosen, out)


def _score_over(
    model: Decoder,
    pairs: Sequence[Pair],
    chosen: list[int],
    stems: list[tuple[int, ...]],
    cuts: Mapping[tuple[int, ...], int],
    out: list[Scored | None],
) -> None:
    """Each stem once, then the rest of every pair over it; `cuts` is what stems share in turn."""
    device = model.embedding.device
    places = {stem: n for n, stem in enumerate(dict.fromkeys(stems))}
    _, cache = prefill(model, list(places), [cuts.get(stem, 0) for stem in places])
    rest = [[*pairs[i][0][len(s) :], *pairs[i][1][:-1]] for i, s in zip(chosen, stems)]
    ids, lengths = right_pad(rest, device=device)
    real = torch.arange(ids.shape[1], device=device) < lengths[:, None]
    owner = torch.tensor([places[stem] for stem in stems], device=device)
    hidden = model(ids, mask_bt=real, cache=cache.branch(owner, ids.shape[1]))
    starts = [len(pairs[i][0]) - len(stem) - 1 for i, stem in zip(chosen, stems)]
    _collect(model, hidden, starts, pairs, chosen, out)


def _collect(
    model: Decoder,
    hidden_btd: Tensor,
    starts: list[int],
    pairs: Sequence[tuple[list[int], list[int]]],
    chosen: list[int],
    out: list[Scored | None],
) -> None:
    lengths = [len(pairs[i][1]) for i in chosen]
    wanted = torch.cat(
        [
            hidden_btd[n, first : first + size]
            for n, (first, size) in enumerate(zip(starts, lengths))
        ]
    )
    targets = torch.tensor([t for i in chosen for t in pairs[i][1]], device=wanted.device)
    logprobs, greedy = [], []
    for low in range(0, len(targets), 4096):
        logits, target = model.logits(wanted[low : low + 4096]), targets[low : low + 4096]
        picked = torch.log_softmax(logits, -1).gather(1, target[:, None]).squeeze(1)
        logprobs.append(picked)
        greedy.append(logits.argmax(-1) == target)
    all_logprobs, all_greedy = torch.cat(logprobs).cpu().numpy(), torch.cat(greedy).cpu().numpy()
    at = 0
    for i, size in zip(chosen, lengths):
        part = slice(at, at + size)
        out[i] = Scored(all_logprobs[part].astype(np.float32), bool(all_greedy[part].all()))
        at += size
