"""Put requests to a node: score the gold answers, draw the rest in batches of equal decoding."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from regrow.evaluate.plans import Decoding, Request
from regrow.progress import Progress
from regrow.seeds import derive

if TYPE_CHECKING:
    from regrow.corpus.tokenizer import Tokenizer
    from regrow.generate.sampler import Completion
    from regrow.model.decoder import Decoder


@dataclass(frozen=True)
class Subject:
    """A node under measurement; `seconds` keeps what each part of the work took, `drawn` how many
    texts and tokens were drawn."""

    name: str
    model: Decoder
    tokenizer: Tokenizer
    batch: int
    seconds: dict[str, float] = field(default_factory=dict)
    drawn: Counter[str] = field(default_factory=Counter)

    @property
    def context(self) -> int:
        """Tokens that the model sees at once."""
        return self.model.config.context

    def spent(self, part: str, began: float) -> None:
        """Add the time since `began` to a part of the work."""
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began


@dataclass(slots=True)
class Answer:
    """What a node makes of a request.

    `twins` are log-probabilities in nats per token by metric; under the empty name that of the gold
    answer. `confidence` is the probability that the node gives to its answer, or the share of the
    likeliest choice; None where the answer is no whole text of its own or was sampled.
    """

    texts: list[str] = field(default_factory=list)
    twins: dict[str, float] = field(default_factory=dict)
    confidence: float | None = None

    def twin(self, metric: str) -> float | None:
        """The continuous measure beside a metric."""
        return self.twins.get(metric, self.twins.get(""))


def answer(node: Subject, requests: Sequence[Request], progress: Progress) -> list[Answer]:
    """The answers to all requests, with what stands beside them."""
    answers = [Answer() for _ in requests]
    total = len(requests)
    began = time.perf_counter()
    _score_texts(node, requests, answers)
    _score_choices(node, requests, answers)
    node.spent("scoring", began)
    groups: dict[Decoding, list[int]] = defaultdict(list)
    for index, request in enumerate(requests):
        if not answers[index].texts:
            groups[request.decoding].append(index)
    done = total - sum(map(len, groups.values()))
    progress(done, total, phase="drawing answers")
    for decoding, members in sorted(groups.items(), key=lambda group: repr(group[0])):
        began = time.perf_counter()
        drawn = complete(node, [requests[index].prompt for index in members], decoding)
        for index, found in zip(members, drawn, strict=True):
            answers[index].texts = [cut(one.text, decoding.stop) for one in found]
            if requests[index].ending and not decoding.temperature:
                answers[index].confidence = math.exp(float(np.sum(found[0].logprobs)))
            node.drawn.update(texts=len(found), tokens=sum(len(one.ids) for one in found))
        node.spent(f"drawing {decoding.max_tokens} x {decoding.samples}", began)
        done += len(members)
        progress(done, total, phase="drawing answers")
    return answers


def _score_texts(node: Subject, requests: Sequence[Request], answers: Sequence[Answer]) -> None:
    """Fill in twins, and the answers of those whose gold is what greedy decoding gives.

    A text after the same prompt is scored once.
    """
    from regrow.generate.sampler import score

    places: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
    asked = [
        (index, metric, places.setdefault((tuple(request.prompt), tuple(text)), len(places)))
        for index, request in enumerate(requests)
        for metric, text in _texts(request, node.context - len(request.prompt))
    ]
    pairs = [(list(prompt), list(text)) for prompt, text in places]
    results = score(node.model, pairs, batch=max(1, node.batch // 2))
    for index, metric, place in asked:
        request, result, own = requests[index], results[place], answers[index]
        wanted = len(request.gold) if metric == "" else len(pairs[place][1])
        mean = float(np.asarray(result.logprobs)[:wanted].mean())
        own.twins[metric] = max(mean, own.twins.get(metric, -math.inf))
        whole = len(pairs[place][1]) == len(request.gold) + len(request.ending)
        fits = wanted < request.decoding.max_tokens
        greedy = result.greedy and not request.decoding.temperature
        if metric == "" and request.ending and whole and fits and greedy:
            own.texts = [node.tokenizer.decode(request.gold)]
            own.confidence = math.exp(float(np.sum(result.logprobs)))


def _texts(request: Request, room: int) -> Iterator[tuple[str, list[int]]]:
    """(metric, ids) of what is scored after a prompt; the gold answer goes with its ending."""
    if request.gold:
        yield "", [*request.gold, *request.ending][:room]
    for metric, texts in request.twins.items():
        for text in texts:
            yield metric, text[:room]


def _score_choices(node: Subject, requests: Sequence[Request], answers: Sequence[Answer]) -> None:
    """Answer requests that have choices by the one that is likeliest per token.

    The log-probability is divided by the length in tokens (Brown et al. 2020, sec. 2.4).
    """
    from regrow.generate.sampler import score

    asked = [index for index, request in enumerate(requests) if request.choices]
    pairs = [(requests[i].prompt, choice) for i in asked for choice in requests[i].choices]
    scored = iter(score(node.model, pairs))
    for index in asked:
        request, check, own = requests[index], requests[index].item.check, answers[index]
        means = [float(np.mean(found.logprobs)) for found in islice(scored, len(request.choices))]
        best = int(np.argmax(means))
        own.texts = [check["choices"][best]]
        own.twins[""] = means[check["gold"]]
        own.confidence = 1 / float(np.exp(np.asarray(means) - means[best]).sum())


def draw(node: Subject, asked: Sequence[list[int]], decoding: Decoding) -> list[list[str]]:
    """Draw `decoding.samples` answers to each prompt, cut at the stop strings."""
    found = complete(node, asked, decoding)
    return [[cut(one.text, decoding.stop) for one in drawn] for drawn in found]


def complete(
    node: Subject, asked: Sequence[list[int]], decoding: Decoding
) -> list[list[Completion]]:
    """Draw `decoding.samples` completions of each prompt."""
    from regrow.generate.sampler import Sampling, generate

    sampling = Sampling(
        max_tokens=decoding.max_tokens,
        temperature=decoding.temperature,
        stop_ids=(node.tokenizer.end, node.tokenizer.eos),
        stop_strings=decoding.stop,
        seed=derive("measure", decoding.temperature),
    )
    return generate(
        node.model,
        node.tokenizer,
        list(asked),
        sampling,
        samples=decoding.samples,
        batch=node.batch,
    )


def cut(text: str, stops: Iterable[str]) -> str:
    """The text before the first stop string."""
    for stop in stops:
        text = text.split(stop, 1)[0]
    return text
