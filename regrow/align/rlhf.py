"""PPO against a reward model: a value model of its own, and a pretraining mix beside it."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from regrow.align import ppo
from regrow.align.actor import Loop
from regrow.align.likelihood import token_log_probabilities
from regrow.align.ppo import KlController, PpoSettings
from regrow.align.reinforcement import Reinforcement, mean
from regrow.align.reward import RewardModel, score_rows
from regrow.align.rollouts import Drawn, Rollouts
from regrow.align.rows import Rows
from regrow.corpus.tokenizer import Tokenizer
from regrow.model.decoder import Decoder
from regrow.records import Conversation
from regrow.train.optim import Optimizer, build
from regrow.train.precision import Precision

#: Judges an answer to a prompt that has a `check`, without noise; watched, never trained on.
Gold = Callable[[Conversation, str], float]


@dataclass(frozen=True, slots=True)
class RlhfLoop(Loop):
    """The loop of PPO: rate of the value model, an adaptive KL weight, and the update's figures.

    `kl_target` is in nats an answer; None keeps the weight `kl` as it is.
    """

    value_rate: float = 3e-4
    kl_target: float | None = None
    kl_horizon: float = 10_000
    ppo: PpoSettings = field(default_factory=PpoSettings)


class Rlhf(Reinforcement):
    """A policy, its frozen reference, a reward model and a value model that starts as its copy."""

    phase = "ppo"
    loop: RlhfLoop

    def __init__(
        self,
        policy: Decoder,
        reward: RewardModel,
        tokenizer: Tokenizer,
        prompts: Sequence[Conversation],
        loop: RlhfLoop,
        *,
        seed: int,
        mix: Rows | None = None,
        gold: Gold | None = None,
        precision: Precision | None = None,
    ) -> None:
        self.loop, self._fitted = loop, reward  # before the base class prepares the models
        truth = (lambda ps, said: [gold(*pair) for pair in zip(ps, said)]) if gold else None
        super().__init__(
            policy, tokenizer, prompts, loop, seed=seed, temperature=loop.ppo.temperature, mix=mix,
            mix_weight=loop.ppo.pretraining_mix, truth=truth, precision=precision,
        )  # fmt: skip

    def prepare(self, precision: Precision) -> None:
        """Build the reward and the value model as well."""
        super().prepare(precision)
        self.reward = copy.deepcopy(self._fitted).to(precision.dtype).eval()
        self.values = copy.deepcopy(self._fitted).eval()
        self.values.parent = None  # what it is sure of shows only when an answer is whole
        plain = replace(self.adam, rate=self.loop.value_rate, average=0.0)
        self.value_optimizer: Optimizer = build(self.values, plain, precision)

    def optimizers(self) -> dict[str, Optimizer]:
        """Of the policy and of the value model."""
        return {"policy": self.optimizer, "value": self.value_optimizer}

    def worth(self, drawn: Sequence[Drawn]) -> np.ndarray:
        """The rewards of the ids as they were drawn."""
        rows, starts = [one.row for one in drawn], [len(one.asked) for one in drawn]
        return score_rows(self.reward, rows, self.tokenizer.pad, starts)

    def scores(self, drawn: Sequence[Drawn]) -> np.ndarray:
        """Rewards within bounds; an answer without its end gets the fixed low score."""
        s = self.loop.ppo
        scores = np.clip(self.worth(drawn), -s.score_clip, s.score_clip)
        if s.no_end_score is not None:
            scores[[not one.answer.finished for one in drawn]] = s.no_end_score
        return scores

    def groups(self, drawn: Sequence[Drawn], least: int = 8) -> list[str]:
        """Families, by which advantages are whitened; those with few answers share one group."""
        families = [one.prompt.family for one in drawn]
        counts = Counter(families)
        return [name if counts[name] >= least else "few" for name in families]

    def settle(self, figures: Mapping[str, float], answers: int) -> None:
        """Steer the KL weight to its target."""
        controller = KlController(self.beta, self.loop.kl_target, self.loop.kl_horizon)
        controller.update(figures["kl_answer"], answers)
        self.beta = controller.beta

    def update(self, rollouts: Rollouts, groups: Sequence[str], step: int) -> dict[str, float]:
        """One PPO update from the answers of a step."""
        r, s = rollouts, self.loop.ppo
        values = self._values(r, step)
        rewards = ppo.token_rewards(r.scores, r.log_old, r.log_ref, r.answer, self.beta)
        advantage, returns = ppo.advantages(rewards, values, r.answer, s.discount, s.trace)
        advantage = ppo.whiten(advantage, r.answer, groups)
        count = float(r.answer.sum()) / len(self.parts(step, 0, len(r.ids)))
        figures = []
        for rows, place, scale in self.minibatches(step, len(r.ids)):
            part = r.part(rows)
            t = part.answer.shape[1]
            new = token_log_probabilities(self.policy, part.ids, part.answer, s.temperature)
            loss, clipped = ppo.policy_loss(
                new, part.log_old, advantage[rows, :t], part.answer, s.clip_ratio, count
            )
            told = self.learn(loss, place, scale) | {"clipped": clipped}
            value = ppo.value_loss(
                ppo.value_at(self.values, part.ids, part.answer),
                values[rows, :t],
                returns[rows, :t],
                part.answer,
                s.value_clip,
                count,
            )
            self.value_optimizer.zero_grad()
            self.value_optimizer.backward(s.value_weight * value)
            self.value_optimizer.step(scale)
            figures.append(told | {"value_loss": float(value.detach())})
        return mean(figures)

    @torch.no_grad()
    def _values(self, rollouts: Rollouts, step: int) -> Tensor:
        """Values before each answer token [n, t], before the update."""
        values = torch.zeros_like(rollouts.answer)
        for rows in self.parts(step, 0, len(values)):
            part = rollouts.part(rows)
            values[rows, : part.answer.shape[1]] = ppo.value_at(self.values, part.ids, part.answer)
        return values
