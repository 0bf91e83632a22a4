"""Put requests to a node: score the gold answers, draw the rest in batches of equal decoding."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from regrow.evaluate.plans import Decoding, Request
from regrow.progress import Progress
from regrow.seeds import derive

if TYPE_CHECKING:
    from regrow.corpus.tokenizer import Tokenizer
    from regrow.model.decoder import Decoder


@dataclass(frozen=True)
class Subject:
    """A node under measurement; `seconds` keeps what each part of the work took."""

    name: str
    model: Decoder
    tokenizer: Tokenizer
    batch: int
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def context(self) -> int:
        """Tokens that the model sees at once."""
        return self.model.config.context

    def spent(self, part: str, began: float) -> None:
        """Add the time since `began` to a part of the work."""
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began


def answer(
    node: Subject, requests: Sequence[Request], progress: Progress
) -> tuple[list[list[str]], list[float | None]]:
    """The texts that answer each request, and the continuous twins."""
    answers: list[list[str]] = [[] for _ in requests]
    twins: list[float | None] = [None] * len(requests)
    total = len(requests)
    began = time.perf_counter()
    _score_gold(node, requests, answers, twins)
    _score_choices(node, requests, answers, twins)
    node.spent("scoring", began)
    groups: dict[Decoding, list[int]] = defaultdict(list)
    for index, request in enumerate(requests):
        if not answers[index]:
            groups[request.decoding].append(index)
    done = total - sum(map(len, groups.values()))
    progress(done, total, phase="drawing answers")
    for decoding, members in sorted(groups.items(), key=lambda group: repr(group[0])):
        began = time.perf_counter()
        texts = draw(node, [requests[index].prompt for index in members], decoding)
        for index, drawn in zip(members, texts, strict=True):
            answers[index] = drawn
        node.spent(f"drawing {decoding.max_tokens} x {decoding.samples}", began)
        done += len(members)
        progress(done, total, phase="drawing answers")
    return answers, twins


def _score_gold(
    node: Subject,
    requests: Sequence[Request],
    answers: list[list[str]],
    twins: list[float | None],
) -> None:
    """Fill in twins, and the answers of those whose gold is what greedy decoding gives."""
    from regrow.generate.sampler import score

    scored = [index for index, request in enumerate(requests) if request.gold]
    pairs = []
    for index in scored:
        request = requests[index]
        room = node.context - len(request.prompt)
        pairs.append((request.prompt, [*request.gold, *request.ending][:room]))
    results = score(node.model, pairs, batch=max(1, node.batch // 2))
    for index, (_, continuation), result in zip(scored, pairs, results, strict=True):
        request = requests[index]
        logprobs = np.asarray(result.logprobs)[: len(request.gold)]
        twins[index] = float(logprobs.mean())
        complete = request.ending and len(continuation) == len(request.gold) + len(request.ending)
        fits = len(request.gold) < request.decoding.max_tokens
        if complete and fits and result.greedy and not request.decoding.temperature:
            answers[index] = [node.tokenizer.decode(request.gold)]


def _score_choices(
    node: Subject,
    requests: Sequence[Request],
    answers: list[list[str]],
    twins: list[float | None],
) -> None:
    """Answer requests that have choices by the one that is likeliest per token.

    The log-probability is divided by the length in tokens (Brown et al. 2020, sec. 2.4).
    """
    from regrow.generate.sampler import score

    asked = [index for index, request in enumerate(requests) if request.choices]
    pairs = [(requests[i].prompt, choice) for i in asked for choice in requests[i].choices]
    scored = iter(score(node.model, pairs))
    for index in asked:
        request, check = requests[index], requests[index].item.check
        means = [float(np.mean(found.logprobs)) for found in islice(scored, len(request.choices))]
        answers[index] = [check["choices"][int(np.argmax(means))]]
        twins[index] = means[check["gold"]]


def draw(node: Subject, asked: Sequence[list[int]], decoding: Decoding) -> list[list[str]]:
    """Draw `decoding.samples` answers to each prompt, cut at the stop strings."""
    from regrow.generate.sampler import Sampling, generate

    sampling = Sampling(
        max_tokens=decoding.max_tokens,
        temperature=decoding.temperature,
        stop_ids=(node.tokenizer.end, node.tokenizer.eos),
        stop_strings=decoding.stop,
        seed=derive("measure", decoding.temperature),
    )
    completions = generate(
        node.model,
        node.tokenizer,
        list(asked),
        sampling,
        samples=decoding.samples,
        batch=node.batch,
    )
    return [[cut(c.text, decoding.stop) for c in drawn] for drawn in completions]


def cut(text: str, stops: Iterable[str]) -> str:
    """The text before the first stop string."""
    for stop in stops:
        text = text.split(stop, 1)[0]
    return text
