"""Batched generation with a key-value cache; scoring (`regrow.generate.scoring`) beside it.

What a sample says depends on the model, its prompt and the seed, not on what is generated beside
it: each has random numbers of its own, and padding never reaches a real token. (Products of other
shapes may round otherwise in the last bit; in fp32 that changes a text only at an exact tie.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from regrow.errors import RegrowError
from regrow.generate.prefixes import prefill, shared_prefixes
from regrow.generate.scoring import Scored, reading, score
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.seeds import rng

__all__ = ["Completion", "Decodes", "Sampling", "Scored", "choose", "generate", "score", "stream"]


#: Bytes of keys and values that rows under way may hold once each has so many tokens: with 32 MiB
#: of last-level cache, 1.4M weights drew fastest at 42 to 66 MB (docs/posttraining-speed.md).
_HELD, _TEXT = 48_000_000, 32


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

    The logits are float32; a draw selects by the inverse cumulative distribution, summed in
    float64.
    """
    if sampling.temperature == 0:
        top, ids = logits_bv.max(-1)
        return ids, top - logits_bv.logsumexp(-1)
    logprobs = torch.log_softmax(logits_bv, -1)
    if sampling.temperature == 1:
        p = logprobs.exp()
    else:
        p = torch.softmax(logits_bv / sampling.temperature, -1)
    if sampling.top_p < 1:
        ordered, index = p.sort(stable=True, dim=-1, descending=True)
        before = ordered.cumsum(-1, dtype=torch.float64) - ordered
        p = torch.zeros_like(p).scatter_(1, index, ordered.where(before < sampling.top_p, 0.0))
    cumulative = p.cumsum(-1, dtype=torch.float64)
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
        cuts: list[int],
        samples: list[list[_Sample]],
        sampling: Sampling,
    ) -> None:
        self.model, self.tokenizer, self.sampling = model, tokenizer, sampling
        self.device = model.embedding.device
        self.alive = [sample for group in samples for sample in group]
        counts = torch.tensor([len(group) for group in samples], device=self.device)
        rows = torch.arange(len(prompts), device=self.device).repeat_interleave(counts)
        limit = max(len(sample.draws) for sample in self.alive)
        hidden, cache = prefill(model, prompts, cuts)
        if self.device.type == "cpu":  # one query a row: there fp32 is the quicker
            cache = cache.to(torch.float32)
        if len(rows) > len(prompts):  # samples share their prompt
            self.cache = cache.branch(rows, limit)
        else:
            self.cache, cache.length = cache, cache.length + limit
        self.hidden, self.head = hidden[rows], model.head_weight.float()
        self.longest = max(map(len, sampling.stop_strings), default=0)
        draws = np.zeros((len(self.alive), limit))
        for row, sample in zip(draws, self.alive):
            row[: len(sample.draws)] = sample.draws
        self.draws, self.drawn = torch.from_numpy(draws).to(self.device), 0

    def step(self) -> None:
        """Choose a token for every live sample and feed it."""
        draws, self.drawn = self.draws[:, self.drawn], self.drawn + 1
        ids, logprobs = choose(self.model.logits(self.hidden, self.head), self.sampling, draws)
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
            ids, self.draws = ids[rows], self.draws[rows]
            self.alive = [self.alive[i] for i in live]
        # A finished row that still runs along must not walk past the context.
        positions = self.cache.tokens[:, None].clamp(max=self.model.config.context - 1)
        self.hidden = self.model(ids[:, None], positions, cache=self.cache)[:, -1]

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
                own = len(text) - len(_unspaced(text, sample, self.tokenizer))
                found = [text.find(stop, own) for stop in self.sampling.stop_strings]
                if places := [place for place in found if place >= 0]:
                    sample.cut = min(places)
                    sample.done = sample.finished = True
                    return
        sample.done = len(sample.ids) >= len(sample.draws)


def _text(sample: _Sample, tokenizer: Decodes, sampling: Sampling) -> str:
    ids = sample.ids[:-1] if sample.ids and sample.ids[-1] in sampling.stop_ids else sample.ids
    text = tokenizer.decode(ids)
    text = text[: sample.cut] if sample.cut >= 0 else text
    return _unspaced(text, sample, tokenizer)


def _unspaced(text: str, sample: _Sample, tokenizer: Decodes) -> str:
    """A text without the space of the chat layout."""
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


def rows_together(config: ModelConfig) -> int:
    """How many rows are drawn together, 64 to 512: a small model needs many to keep a processor
    busy, until their keys no longer fit its cache."""
    a_row = 2 * config.layers * config.kv_heads * config.head_dim * 4 * _TEXT
    return min(512, max(64, _HELD // a_row))


def generate(
    model: Decoder,
    tokenizer: Decodes,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    samples: int = 1,
    batch: int | None = None,
    share: bool = True,
) -> list[list[Completion]]:
    """`samples` completions of each prompt, in the order of the prompts.

    At most `batch` rows run together (`rows_together` unless given), prompts of like length side by
    side; a prompt's samples share its prefill, and prompts that begin alike that of their beginning
    (unless `share` is False). Equal prompts in one call draw differently. A text ends at the
    context's end at the latest. Raises RegrowError for an empty prompt or one that fills the
    context.
    """
    seen: Counter[tuple[int, ...]] = Counter()
    groups = []
    for prompt in prompts:
        limit, copy = _limit(prompt, model, sampling), seen[tuple(prompt)]
        seen[tuple(prompt)] += 1
        groups.append([_start(prompt, sampling, limit, copy, n) for n in range(samples)])
    cuts = shared_prefixes([prompt[:-1] for prompt in prompts]) if share else [0] * len(prompts)
    order = sorted(
        range(len(prompts)), key=lambda i: (-cuts[i], prompts[i][: cuts[i]], -len(prompts[i]))
    )
    together = max(1, (batch or rows_together(model.config)) // max(1, samples))
    with reading(model):
        for low in range(0, len(order), together):
            chosen = order[low : low + together]
            running = _Batch(
                model,
                tokenizer,
                [list(prompts[i]) for i in chosen],
                [cuts[i] for i in chosen],
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
    with reading(model):
        running = _Batch(model, tokenizer, [prompt], [0], [[under_way]], sampling)
    sent = 0
    while running.alive:
        with reading(model):
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
