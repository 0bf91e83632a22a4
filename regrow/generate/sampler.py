"""Batched generation and scoring with a key-value cache.

What a sample says depends on the model, its prompt and the seed, not on what is generated beside
it: each has random numbers of its own, and padding never reaches a real token. (Products of other
shapes may round otherwise in the last bit; in fp32 that changes a text only at an exact tie.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from regrow.errors import RegrowError
from regrow.model.attention import Cache
from regrow.model.decoder import Decoder
from regrow.seeds import rng


class Decodes(Protocol):
    """What the sampler asks of a tokenizer. After the id `assistant` an answer begins, whose
    leading space is the chat layout's and not its own."""

    assistant: int

    def decode(self, ids: list[int], /) -> str:
        """The text of these ids."""
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose tokens. Temperature 0 is greedy; `top_p` keeps the smallest set of tokens that
    has this probability (Holtzman et al. 2020), after the temperature. A stop id ends the text
    and is not part of it; so does a stop string."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop_ids: tuple[int, ...] = ()
    stop_strings: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1:
            raise RegrowError(
                "sampling needs max_tokens >= 1, temperature >= 0 and 0 < top_p <= 1, not "
                f"{self.max_tokens}, {self.temperature} and {self.top_p}"
            )


@dataclass(frozen=True, slots=True)
class Completion:
    """One generated text.

    `ids` includes the stop id, or the token that completed a stop string, where there was one;
    `text` does not. `logprobs` (float32, one an id) are under the model itself: temperature 1,
    nothing cut. `finished` is false where max_tokens or the context ended it.
    """

    ids: list[int]
    text: str
    logprobs: np.ndarray
    finished: bool


@dataclass(frozen=True, slots=True)
class Scored:
    """Log-probabilities (float32) of a continuation, and whether each token was the likeliest."""

    logprobs: np.ndarray
    greedy: bool


@dataclass(slots=True)
class _Sample:
    """A text under way."""

    prompt: list[int]
    draws: np.ndarray
    ids: list[int]
    logprobs: list[float]
    done: bool = False
    finished: bool = False
    cut: int = -1  # characters of the text before a stop string


def _start(prompt: list[int], sampling: Sampling, limit: int, *keys: object) -> _Sample:
    if sampling.temperature > 0:
        draws = rng(sampling.seed, "sample", prompt, *keys).random(limit)
    else:
        draws = np.zeros(limit)
    return _Sample(prompt, draws, [], [])


def choose(logits_bv: Tensor, sampling: Sampling, draws_b: Tensor) -> tuple[Tensor, Tensor]:
    """Pick a token for each row from its draw in [0, 1); returns ids and their log-probabilities.

    The logits are float32; a draw selects by the inverse cumulative distribution in float64.
    """
    logprobs = torch.log_softmax(logits_bv, -1)
    if sampling.temperature == 0:
        ids = logits_bv.argmax(-1)
        return ids, logprobs.gather(1, ids[:, None]).squeeze(1)
    p = torch.softmax(logits_bv.double() / sampling.temperature, -1)
    if sampling.top_p < 1:
        ordered, index = p.sort(stable=True, dim=-1, descending=True)
        before = ordered.cumsum(-1) - ordered
        p = torch.zeros_like(p).scatter_(1, index, ordered.where(before < sampling.top_p, 0.0))
    cumulative = p.cumsum(-1)
    point = draws_b.double()[:, None] * cumulative[:, -1:]
    ids = torch.searchsorted(cumulative, point, right=True).clamp_(max=p.shape[1] - 1)
    return ids.squeeze(1), logprobs.gather(1, ids).squeeze(1)


class _Batch:
    """Samples that advance together, one token a step; finished ones leave."""

    def __init__(
        self,
        model: Decoder,
        tokenizer: Decodes,
        prompts: list[list[int]],
        samples: list[list[_Sample]],
        sampling: Sampling,
    ) -> None:
        self.model, self.tokenizer, self.sampling = model, tokenizer, sampling
        self.device = model.embedding.device
        self.alive = [sample for group in samples for sample in group]
        width = max(map(len, prompts))
        room = width + max(len(sample.draws) for sample in self.alive)
        ids, mask = _left_pad(prompts, width, self.device)
        cache = Cache(model.config, len(prompts), room, model.embedding.dtype, self.device)
        hidden = model(ids, mask_bt=mask, cache=cache)[:, -1]
        counts = torch.tensor([len(group) for group in samples], device=self.device)
        rows = torch.repeat_interleave(torch.arange(len(prompts), device=self.device), counts)
        if len(rows) > len(prompts):
            cache.select(rows)
        self.cache, self.hidden = cache, hidden[rows]
        self.mask = torch.ones(len(rows), room, dtype=torch.bool, device=self.device)
        self.mask[:, :width] = mask[rows]
        self.longest = max(map(len, sampling.stop_strings), default=0)

    def step(self) -> None:
        """Choose a token for every live sample and feed it."""
        drawn = [s.draws[min(len(s.ids), len(s.draws) - 1)] for s in self.alive]
        draws = torch.tensor(np.array(drawn), device=self.device)
        ids, logprobs = choose(self.model.logits(self.hidden), self.sampling, draws)
        for sample, token, logprob in zip(self.alive, ids.tolist(), logprobs.tolist()):
            if not sample.done:
                self._take(sample, token, logprob)
        live = [i for i, sample in enumerate(self.alive) if not sample.done]
        if not live:
            self.alive = []
            return
        if len(live) <= 0.75 * len(self.alive):  # dropping rows copies the cache: not for a few
            rows = torch.tensor(live, device=self.device)
            self.cache.select(rows)
            self.mask, ids = self.mask[rows], ids[rows]
            self.alive = [self.alive[i] for i in live]
        end = self.cache.filled + 1
        mask = self.mask[:, :end]
        # A finished row that still runs along must not walk past the context.
        positions = mask.sum(1, keepdim=True).sub_(1).clamp_(max=self.model.config.context - 1)
        self.hidden = self.model(ids[:, None], positions, mask, self.cache)[:, -1]

    def _take(self, sample: _Sample, token: int, logprob: float) -> None:
        sample.ids.append(token)
        sample.logprobs.append(logprob)
        if token in self.sampling.stop_ids:
            sample.done = sample.finished = True
            return
        if self.longest:
            tail = self.tokenizer.decode(sample.ids[-4 * self.longest - 4 :])
            if any(stop in tail for stop in self.sampling.stop_strings):
                text = self.tokenizer.decode(sample.ids)
                found = [text.find(stop) for stop in self.sampling.stop_strings]
                sample.cut = min(place for place in found if place >= 0)
                sample.done = sample.finished = True
                return
        sample.done = len(sample.ids) >= len(sample.draws)


def _left_pad(rows: list[list[int]], width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    return ids, torch.arange(width, device=device)[None] >= (width - lengths)[:, None]


def _text(sample: _Sample, tokenizer: Decodes, sampling: Sampling) -> str:
    ids = sample.ids[:-1] if sample.ids and sample.ids[-1] in sampling.stop_ids else sample.ids
    text = tokenizer.decode(ids)
    text = text[: sample.cut] if sample.cut >= 0 else text
    return text.removeprefix(" ") if sample.prompt[-1] == tokenizer.assistant else text


def _completion(sample: _Sample, tokenizer: Decodes, sampling: Sampling) -> Completion:
    text = _text(sample, tokenizer, sampling)
    return Completion(sample.ids, text, np.array(sample.logprobs, np.float32), sample.finished)


def _limit(prompt: list[int], model: Decoder, sampling: Sampling) -> int:
    room = model.config.context - len(prompt)
    if not prompt or room < 1:
        raise RegrowError(
            f"a prompt of {len(prompt)} tokens leaves no room in a context of "
            f"{model.config.context}; give 1 to {model.config.context - 1} tokens"
        )
    return min(sampling.max_tokens, room)


@contextmanager
def _reading(model: Decoder) -> Iterator[None]:
    """Without gradients and dropout; the model's own mode comes back afterwards."""
    training = model.training
    if training:
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if training:
            model.train()


def generate(
    model: Decoder,
    tokenizer: Decodes,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    samples: int = 1,
    batch: int = 64,
) -> list[list[Completion]]:
    """`samples` completions of each prompt, in the order of the prompts.

    At most `batch` rows run together, prompts of like length side by side; a prompt's samples
    share its prefill. Equal prompts in one call draw differently. A text ends at the context's
    end at the latest. Raises RegrowError for an empty prompt or one that fills the context.
    """
    seen: Counter[tuple[int, ...]] = Counter()
    groups = []
    for prompt in prompts:
        limit, copy = _limit(prompt, model, sampling), seen[tuple(prompt)]
        seen[tuple(prompt)] += 1
        groups.append([_start(prompt, sampling, limit, copy, n) for n in range(samples)])
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    together = max(1, batch // max(1, samples))
    with _reading(model):
        for low in range(0, len(order), together):
            chosen = order[low : low + together]
            running = _Batch(
                model,
                tokenizer,
                [list(prompts[i]) for i in chosen],
                [groups[i] for i in chosen],
                sampling,
            )
            while running.alive:
                running.step()
    return [[_completion(s, tokenizer, sampling) for s in group] for group in groups]


def stream(
    model: Decoder, tokenizer: Decodes, prompt: list[int], sampling: Sampling, sample: int = 0
) -> Generator[str, None, Completion]:
    """Yield the text that `generate` would give for this prompt alone, piece by piece.

    `sample` says which of the prompt's samples; the generator returns the whole completion. An
    empty piece means that a step brought nothing to show, so that a caller can stop between steps.
    Text that may yet turn out to be the start of a stop string, or of a character, is held back.
    """
    under_way = _start(prompt, sampling, _limit(prompt, model, sampling), 0, sample)
    with _reading(model):
        running = _Batch(model, tokenizer, [prompt], [[under_way]], sampling)
    sent = 0
    while running.alive:
        with _reading(model):
            running.step()
        text = _text(under_way, tokenizer, sampling)
        ready = len(text) if under_way.done else _settled(text, sampling.stop_strings)
        yield text[sent:ready]
        sent = max(sent, ready)
    return _completion(under_way, tokenizer, sampling)


def _settled(text: str, stops: tuple[str, ...]) -> int:
    """How many characters of a text under way are sure to stay."""
    ready = len(text.rstrip("\ufffd"))
    for stop in stops:
        for length in range(min(len(stop) - 1, ready), 0, -1):
            if text[:ready].endswith(stop[:length]):
                ready -= length
                break
    return ready


def score(
    model: Decoder, pairs: Sequence[tuple[list[int], list[int]]], batch: int = 64
) -> list[Scored]:
    """Log-probabilities of continuations given their prompts, in order.

    Continuations of one prompt (multiple choice) share its prefill. Raises RegrowError for an
    empty prompt (give the end-of-text id) or a pair longer than the context.
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
    same = Counter(tuple(prompt) for prompt, _ in pairs)
    alone = [i for i, (prompt, _) in enumerate(pairs) if same[tuple(prompt)] == 1]
    alone.sort(key=lambda i: -len(pairs[i][0]) - len(pairs[i][1]))
    shared = [i for i, (prompt, _) in enumerate(pairs) if same[tuple(prompt)] > 1]
    shared.sort(key=lambda i: (-len(pairs[i][0]), pairs[i][0]))
    with _reading(model):
        for low in range(0, len(alone), batch):
            _score_whole(model, pairs, alone[low : low + batch], out)
        for low in range(0, len(shared), batch):
            _score_shared(model, pairs, shared[low : low + batch], out)
    return [scored for scored in out if scored is not None]


def _right_pad(rows: list[list[int]], device: torch.device) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)


def _score_whole(
    model: Decoder,
    pairs: Sequence[tuple[list[int], list[int]]],
    chosen: list[int],
    out: list[Scored | None],
) -> None:
    """Causal rows padded on the right, which no real token sees."""
    rows = [(pairs[i][0] + pairs[i][1])[:-1] for i in chosen]
    hidden = model(_right_pad(rows, model.embedding.device))
    _collect(model, hidden, [len(pairs[i][0]) - 1 for i in chosen], pairs, chosen, out)


def _score_shared(
    model: Decoder,
    pairs: Sequence[tuple[list[int], list[int]]],
    chosen: list[int],
    out: list[Scored | None],
) -> None:
    """Each prompt once, all but its last token; then every continuation over the cache."""
    device = model.embedding.device
    places = {
        prompt: n for n, prompt in enumerate(dict.fromkeys(tuple(pairs[i][0]) for i in chosen))
    }
    heads = [list(prompt[:-1]) for prompt in places]
    tails = [pairs[i][0][-1:] + pairs[i][1][:-1] for i in chosen]
    width, longest = max(map(len, heads)), max(map(len, tails))
    owner = torch.tensor([places[tuple(pairs[i][0])] for i in chosen], device=device)
    cache = Cache(model.config, len(heads), width + longest, model.embedding.dtype, device)
    mask = torch.zeros(len(heads), 0, dtype=torch.bool, device=device)
    if width:
        ids, mask = _left_pad(heads, width, device)
        model(ids, mask_bt=mask, cache=cache)
    cache.select(owner)
    real = torch.ones(len(tails), longest, dtype=torch.bool, device=device)
    start = mask[owner].sum(1, keepdim=True)
    positions = start + torch.arange(longest, device=device)[None]
    positions.clamp_(max=model.config.context - 1)  # padding on the right, which nobody reads
    seen = torch.cat((mask[owner], real), 1)
    hidden = model(_right_pad(tails, device), positions, seen, cache)
    _collect(model, hidden, [0] * len(chosen), pairs, chosen, out)


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
