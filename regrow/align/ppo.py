"""PPO with a per-token KL penalty and a pretraining mix (Ouyang et al. 2022, sec. 3.5, app. C.4).

The reward of a token is -beta * (log pi - log pi_ref), and at the last token of the answer also
the reward model's score. An answer without its end token scores a fixed low value instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regrow.align.likelihood import last_places
from regrow.align.reward import RewardModel


@dataclass(frozen=True, slots=True)
class PpoSettings:
    """Figures of the update; those of InstructGPT unless a small model needs others."""

    clip_ratio: float = 0.2
    value_clip: float = 0.2
    value_weight: float = 0.1
    discount: float = 1.0
    trace: float = 0.95  # lambda of generalised advantage estimation
    pretraining_mix: float = 0.5  # gamma: weight of the pretraining loss
    temperature: float = 1.0
    no_end_score: float | None = -1.0  # None: score unfinished answers like others
    score_clip: float = 4.0


def token_rewards(
    scores: Tensor, log_old: Tensor, log_ref: Tensor, answer: Tensor, beta: float
) -> Tensor:
    """Rewards [n, t]: the KL penalty on every answer token, the score on the last one.

    The penalty is the plain log ratio (k1 of Schulman 2020), which may be negative and is not
    clamped: only so is its sum over an answer the KL in the mean.
    """
    rewards = -beta * (log_old - log_ref) * answer
    last = last_places(answer)
    return rewards.scatter_add(1, last[:, None], scores[:, None].to(rewards.dtype))


def advantages(
    rewards: Tensor, values: Tensor, answer: Tensor, discount: float, trace: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantages (Schulman et al. 2016, eq. 16) and returns, both [n, t].

    A value outside the answer counts as 0, so that the last token looks ahead to nothing.
    """
    out = torch.zeros_like(rewards)
    carry = torch.zeros(rewards.shape[0])
    following = torch.zeros(rewards.shape[0])
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + discount * following - values[:, t]
        carry = (delta + discount * trace * carry) * answer[:, t]
        out[:, t] = carry
        following = values[:, t] * answer[:, t]
    return out, out + values * answer


def whiten(values: Tensor, mask: Tensor, groups: Sequence[str] | None = None) -> Tensor:
    """Zero mean and unit deviation over masked entries, in each group of rows on its own.

    Groups keep one kind of prompt (refusals, say) from setting the scale for all.
    """
    out = torch.zeros_like(values)
    names = list(groups) if groups is not None else [""] * len(values)
    for name in sorted(set(names)):
        rows = torch.tensor([n for n, other in enumerate(names) if other == name])
        part, keep = values[rows], mask[rows].bool()
        picked = part[keep]
        if len(picked) > 1:
            scaled = (part - picked.mean()) / (picked.std() + 1e-8)
            out[rows] = torch.where(keep, scaled, torch.zeros_like(part))
    return out


def policy_loss(
    log_new: Tensor, log_old: Tensor, advantage: Tensor, answer: Tensor, clip: float, count: float
) -> tuple[Tensor, float]:
    """The clipped surrogate (Schulman et al. 2017, eq. 7) and the share of tokens clipped.

    It is summed over tokens and divided by `count`, the tokens of a mean minibatch: so each token
    of a step weighs the same, whatever minibatch it falls into.
    """
    ratio = torch.exp(log_new - log_old)
    plain = -advantage * ratio
    clipped = -advantage * ratio.clamp(1 - clip, 1 + clip)
    share = float(((clipped > plain) * answer).sum() / answer.sum().clamp(min=1))
    return (torch.maximum(plain, clipped) * answer).sum() / count, share


def value_loss(
    values: Tensor, old: Tensor, returns: Tensor, answer: Tensor, clip: float, count: float
) -> Tensor:
    """Half the squared error, the worse of plain and clipped around the old value."""
    near = old + (values - old).clamp(-clip, clip)
    worst = torch.maximum((values - returns) ** 2, (near - returns) ** 2)
    return 0.5 * (worst * answer).sum() / count


class KlController:
    """The KL weight: fixed, or steered to a target (Ziegler et al. 2019, sec. 2.2).

    `target` is in nats an answer (6 in that paper). The error is clipped to +-0.2, and `horizon` is
    in answers (10,000 in its code).
    """

    def __init__(self, beta: float, target: float | None = None, horizon: float = 10_000) -> None:
        self.beta, self.target, self.horizon = beta, target, horizon

    def update(self, kl: float, answers: int) -> None:
        """Note the measured KL of a step over so many answers."""
        if self.target:
            error = float(np.clip(kl / self.target - 1, -0.2, 0.2))
            self.beta *= 1 + error * answers / self.horizon


def value_at(model: RewardModel, ids: Tensor, answer: Tensor) -> Tensor:
    """Values before each answer token, [n, t]; 0 outside the answer."""
    return model.values(ids[:, :-1], last_places(answer) + 1) * answer
