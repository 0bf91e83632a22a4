"""A policy, its frozen reference, and what the answers of both are worth.

There is one temperature everywhere, no truncated sampling and no dropout, and what is measured
before an update is measured in the very minibatches of that update: the ratio of the first is
exactly 1, in half precision too.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from regrow.align.lesson import topic
from regrow.align.likelihood import lay_out, log_probabilities
from regrow.align.overoptimisation import Truth, change, error_of, put_aside
from regrow.align.rollouts import Drawn, Rollouts, draw, drift
from regrow.corpus.tokenizer import Tokenizer
from regrow.model.decoder import Decoder
from regrow.records import Conversation
from regrow.seeds import derive, rng
from regrow.train.precision import Precision

#: How many answers before and after a run are kept for people to read.
SHOWN = 5
#: The gold score and the worth of each answer.
Judged = tuple[np.ndarray, np.ndarray]
#: Answers a prompt that tell what sampled answers gained.
SAMPLED = 4


@dataclass(frozen=True, slots=True)
class Loop:
    """How long and how hard. `prompts` and `samples` are per step; `length` in tokens.

    `trained`: `all` weights, or the `gains` of the norms alone.
    """

    steps: int
    prompts: int = 64
    samples: int = 2
    length: int = 96
    minibatches: int = 4
    epochs: int = 1
    rate: float = 1e-4
    warmup: int = 5
    kl: float = 0.05
    average: float = 0.0  # OptimSettings.average of the policy (InstructGPT: 0.992)
    mix_rows: int = 8  # pretraining rows beside each minibatch
    trained: Literal["all", "gains"] = "all"
    held_out: int = 128  # prompts, at most, that tell what was gained
    watched: int = 128  # others, at most, by which the guard judges
    gold_fall: float | None = None  # points of gold that may be lost before the policy returns
    checkpoint_every: int = 5


class Actor:
    """A policy that answers prompts. Subclasses say what an answer is worth."""

    #: Whether the gold score is another thing than what the policy is trained to raise.
    apart: ClassVar[bool] = True

    def __init__(
        self,
        policy: Decoder,
        tokenizer: Tokenizer,
        prompts: Sequence[Conversation],
        loop: Loop,
        *,
        seed: int,
        temperature: float,
        truth: Truth | None,
    ) -> None:
        self.policy, self.tokenizer = policy.eval(), tokenizer
        self.loop, self.seed, self.temperature, self.truth = loop, seed, temperature, truth
        watched = 0 if loop.gold_fall is None else loop.watched
        self.aside = put_aside(prompts if truth else [], seed, loop.held_out, watched)
        self.prompts = self.aside.rest if truth else prompts

    def prepare(self, precision: Precision) -> None:
        """Build what depends on the precision: here the reference."""
        self.precision = precision
        self.reference = copy.deepcopy(self.policy).to(precision.dtype)

    def worth(self, drawn: Sequence[Drawn]) -> np.ndarray:
        """What the policy is trained to raise, of each answer, float32 [n]."""
        raise NotImplementedError

    def scores(self, drawn: Sequence[Drawn]) -> np.ndarray:
        """What the update is given of it, float32 [n]."""
        return self.worth(drawn)

    def groups(self, drawn: Sequence[Drawn]) -> list[str]:
        """Which answers are scaled together."""
        raise NotImplementedError

    def chosen(self, step: int) -> list[Conversation]:
        """The prompts of a step: a seeded order without repeats within an epoch."""
        count = min(self.loop.prompts, len(self.prompts))
        per_epoch = max(1, len(self.prompts) // count)
        order = rng(self.seed, "prompts", step // per_epoch).permutation(len(self.prompts))
        start = step % per_epoch * count
        return [self.prompts[i] for i in order[start : start + count]]

    def parts(self, step: int, epoch: int, rows: int) -> list[Tensor]:
        """Which answers stand in each minibatch; shuffled anew each epoch."""
        order = rng(self.seed, "minibatches", step, epoch).permutation(rows)
        pieces = np.array_split(order, min(rows, self.loop.minibatches))
        return [torch.from_numpy(piece) for piece in pieces]

    def draw(self, prompts: Sequence[Conversation], seed: int, samples: int = 1) -> list[Drawn]:
        """Answers of the policy at the temperature of training."""
        return draw(
            self.policy, self.tokenizer, prompts, length=self.loop.length,
            temperature=self.temperature, seed=seed, samples=samples,
        )  # fmt: skip

    @torch.no_grad()
    def roll_out(self, step: int) -> tuple[Rollouts, list[str], dict[str, float]]:
        """Answers of a step with all that the update needs, their groups, and figures."""
        seed = derive(self.seed, "rollout", step)
        drawn = self.draw(self.chosen(step), seed, self.loop.samples)
        scores = self.scores(drawn)
        parts = self.parts(step, 0, len(drawn))
        rollouts = self.measured(drawn, scores, parts)
        ratio = (rollouts.log_old - rollouts.log_ref).sum(1)
        tokens = float(rollouts.answer.sum())
        figures = {
            "reward": float(scores.mean()), "kl": float(ratio.sum()) / tokens,
            "kl_answer": float(ratio.mean()), "length": tokens / len(drawn), "tokens": tokens,
            "ended": float(np.mean([one.answer.finished for one in drawn])),
            "drift": self._drift(rollouts, drawn, parts),
        }  # fmt: skip
        checked = [one for one in drawn if one.prompt.check]
        if self.apart and len(golds := self.golds(checked)):
            figures["gold"] = float(golds.mean())
        return rollouts, self.groups(drawn), figures

    def measured(
        self, drawn: Sequence[Drawn], scores: np.ndarray, parts: Sequence[Tensor]
    ) -> Rollouts:
        """Rollouts of these answers, with log-probabilities taken minibatch by minibatch."""
        asked, answers = [one.asked for one in drawn], [one.answer.ids for one in drawn]
        ids, answer = lay_out(asked, answers, self.tokenizer.pad)
        old, ref = (
            log_probabilities(model, ids, answer, parts, self.temperature)
            for model in (self.policy, self.reference)
        )
        return Rollouts(ids, answer, torch.from_numpy(scores), old, ref)

    def _drift(self, r: Rollouts, drawn: Sequence[Drawn], parts: Sequence[Tensor]) -> float:
        if self.temperature == 1:
            return drift(r.log_old, r.answer, drawn)
        own = log_probabilities(self.policy, r.ids, r.answer, parts)
        return drift(own, r.answer, drawn)

    def golds(self, drawn: Sequence[Drawn]) -> np.ndarray:
        """The gold score of each answer; none where nobody knows the truth."""
        if self.truth is None or not drawn:
            return np.zeros(0)
        return np.asarray(self.truth([d.prompt for d in drawn], [d.answer.text for d in drawn]))

    def judged(self, drawn: Sequence[Drawn]) -> Judged:
        """Gold score and worth of each answer."""
        worth = self.worth(drawn)
        return (self.golds(drawn) if self.apart else worth), worth

    @torch.no_grad()
    def held(self) -> dict[str, float]:
        """Gold, reward and KL (nats an answer) of answers to the prompts held out."""
        if not self.aside.held:
            return {}
        drawn = self.draw(self.aside.held, derive(self.seed, "held"))
        n = len(drawn)
        together = max(1, self.loop.prompts * self.loop.samples // self.loop.minibatches)
        r = self.measured(drawn, np.zeros(n, np.float32), torch.arange(n).split(together))
        golds, worth = self.judged(drawn)
        topics = [topic(prompt) for prompt in self.aside.held]
        return {
            "held_gold": float(golds.mean()), "held_gold_error": error_of(golds, topics),
            "held_reward": float(worth.mean()),
            "held_kl": float((r.log_old - r.log_ref).sum()) / n,
        }  # fmt: skip

    def compare(self) -> dict[str, Any]:
        """What the run gained on the prompts held out: by the likeliest answers, and as `sampled`
        by the mean over `SAMPLED` answers a prompt at the temperature of training, which is what
        the policy is trained to raise."""
        if not self.aside.held:
            return {}
        was, now = self._both(0.0, 1)
        judged = self.judged(was), self.judged(now)
        gained: dict[str, Any] = self._changes(*judged)
        if self.temperature:
            sampled = map(self.judged, self._both(self.temperature, SAMPLED))
            gained["sampled"] = self._changes(*sampled)
        golds = zip(*(gold.tolist() for gold, _ in judged))
        gained["shown"] = [
            {
                "prompt": _read(one.prompt), "before": one.answer.text,
                "after": two.answer.text, "gold_before": x, "gold_after": y,
            }
            for one, two, (x, y) in list(zip(was, now, golds))[:SHOWN]
        ]  # fmt: skip
        return gained

    def _both(self, temperature: float, samples: int) -> list[list[Drawn]]:
        """Answers of the start and of the policy to the prompts held out."""
        return [
            draw(
                model, self.tokenizer, self.aside.held, length=self.loop.length,
                temperature=temperature, seed=derive(self.seed, "compared"), samples=samples,
            )
            for model in (self.reference, self.policy)
        ]  # fmt: skip

    def _changes(self, was: Judged, now: Judged) -> dict[str, Any]:
        """What gold and worth gained on the prompts held out, by the mean of a prompt's answers."""
        topics = [topic(prompt) for prompt in self.aside.held]

        def mean(values: np.ndarray) -> np.ndarray:
            return values.reshape(len(topics), -1).mean(1)

        names = ("gold", "reward")
        return {name: change(mean(x), mean(y), topics) for name, x, y in zip(names, was, now)}


def _read(prompt: Conversation) -> str:
    """A prompt for people: its one turn, or all with their roles."""
    turns = prompt.messages
    return "\n".join(f"{t.role}: {t.content}" for t in turns) if turns[1:] else turns[0].content
