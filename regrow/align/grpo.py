"""GRPO: rewards that can be verified, each held against those of the same prompt's other answers.

Shao et al. 2024 (DeepSeekMath), sec. 4.1: no value model; an answer's advantage is its reward less
the mean of its group, over the group's deviation, the same for all its tokens. The KL term stands
in the loss, as published (eq. 3 and 4), by the estimate k3 = r - log r - 1 with r = pi_ref / pi.
Other than published, the loss is a mean over all tokens of the step and not over each answer's own
first: dividing by an answer's length makes long wrong answers cheap (Liu et al. 2025, sec. 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regrow.align import ppo
from regrow.align.actor import Loop
from regrow.align.likelihood import token_log_probabilities
from regrow.align.overoptimisation import Truth
from regrow.align.reinforcement import Reinforcement, mean
from regrow.align.rollouts import Drawn, Rollouts
from regrow.align.rows import Rows
from regrow.corpus.tokenizer import Tokenizer
from regrow.model.decoder import Decoder
from regrow.records import Conversation
from regrow.train.precision import Precision


@dataclass(frozen=True, slots=True)
class GrpoLoop(Loop):
    """The loop of GRPO; `kl` weighs the KL term of the loss (0.04 in the paper)."""

    samples: int = 8
    kl: float = 0.04
    clip_ratio: float = 0.2
    temperature: float = 1.0
    pretraining_mix: float = 0.0


class Grpo(Reinforcement):
    """A policy that learns from answers which `verify` judges, 1 for right and 0 for wrong."""

    phase = "grpo"
    apart = False
    loop: GrpoLoop

    def __init__(
        self,
        policy: Decoder,
        verify: Truth,
        tokenizer: Tokenizer,
        prompts: Sequence[Conversation],
        loop: GrpoLoop,
        *,
        seed: int,
        mix: Rows | None = None,
        precision: Precision | None = None,
    ) -> None:
        self.verify = verify
        super().__init__(
            policy, tokenizer, prompts, loop, seed=seed, temperature=loop.temperature, mix=mix,
            mix_weight=loop.pretraining_mix, truth=verify, precision=precision,
        )  # fmt: skip

    def worth(self, drawn: Sequence[Drawn]) -> np.ndarray:
        """What the verifier says; an answer without its end is none."""
        said = self.verify([d.prompt for d in drawn], [d.answer.text for d in drawn])
        ended = np.asarray([d.answer.finished for d in drawn])
        return np.where(ended, np.asarray(said, np.float32), np.float32(0))

    def groups(self, drawn: Sequence[Drawn]) -> list[str]:
        """The answers to one prompt, which stand side by side."""
        return [str(n // self.loop.samples) for n in range(len(drawn))]

    def update(self, rollouts: Rollouts, groups: Sequence[str], step: int) -> dict[str, float]:
        """One update from the answers of a step."""
        r, loop = rollouts, self.loop
        advantage = group_advantages(r.scores, groups)
        count = float(r.answer.sum()) / len(self.parts(step, 0, len(r.ids)))
        figures = []
        for rows, place, scale in self.minibatches(step, len(r.ids)):
            part = r.part(rows)
            new = token_log_probabilities(self.policy, part.ids, part.answer, loop.temperature)
            own = advantage[rows, None].expand_as(part.answer)
            gain, clipped = ppo.policy_loss(
                new, part.log_old, own, part.answer, loop.clip_ratio, count
            )
            distance = (kl_estimate(new, part.log_ref) * part.answer).sum() / count
            told = self.learn(gain + self.beta * distance, place, scale)
            figures.append(told | {"clipped": clipped})
        return mean(figures) | {"even": float((advantage == 0).float().mean())}


def group_advantages(scores: Tensor, groups: Sequence[str]) -> Tensor:
    """Each score less its group's mean, over its group's (sample) deviation, [n].

    Where all scores of a group are the same they say nothing, and all its advantages are 0.
    """
    out = torch.zeros_like(scores)
    for name in dict.fromkeys(groups):
        rows = torch.tensor([n for n, other in enumerate(groups) if other == name])
        own = scores[rows]
        if len(own) > 1 and bool((own != own[0]).any()):
            out[rows] = (own - own.mean()) / own.std()
    return out


def kl_estimate(log_new: Tensor, log_ref: Tensor) -> Tensor:
    """k3 of each token (Schulman 2020; eq. 4): never negative, and without bias."""
    log_ratio = log_ref - log_new
    return torch.exp(log_ratio) - log_ratio - 1
