"""A reward model: the parent's decoder with one number at the last token of the answer.

K-wise batches after InstructGPT (Ouyang et al. 2022, sec. 3.5): all pairs of one prompt's ranked
answers stand in one batch element, ties are dropped, the loss is averaged over the pairs.

To that number comes, where the parent is at hand, how sure it is of the answer, times a weight that
is fitted to the same rankings. A small decoder learns from few rankings what raters like, but not
what is true: of that the parent's own probabilities tell more (Kadavath et al. 2022; figures in
docs/feedback.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional

from regrow.align.likelihood import (
    by_length,
    lay_out,
    mean_log_probability,
    sureness,
)
from regrow.errors import RegrowError
from regrow.files import read_json, sha256_json, write_atomic, write_json
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.rows import right_pad, row_states
from regrow.seeds import derive
from regrow.train.device import move


class RewardModel(nn.Module):
    """A decoder with a scalar head; `bias` shifts the rewards so that demonstrations average 0.

    `parent`, where there is one, gave the answers that it learnt from: a reward (`score_rows`)
    holds `likelihood` times how much surer (nats a token) the parent is of an answer than `usual`.
    Where the head alone was fitted the parent is the trunk.
    """

    def __init__(self, trunk: Decoder, seed: int = 0) -> None:
        super().__init__()
        self.parent: Decoder | None = None
        width = trunk.config.width
        self.config = trunk.config
        self.trunk = trunk
        generator = torch.Generator().manual_seed(derive(seed, "reward head") % 2**31)
        # N(0, 1/sqrt(d + 1)) and bias 0 (Stiennon et al. 2020, code release).
        self.head = nn.Parameter(torch.randn(width, generator=generator) * (width + 1) ** -0.5)
        self.register_buffer("bias", torch.zeros(()))
        self.register_buffer("likelihood", torch.zeros(()))
        self.register_buffer("usual", torch.zeros(()))

    def values(self, ids_bt: Tensor, lengths_b: Tensor) -> Tensor:
        """A value for each of the first `lengths_b` positions of a row, [b, t], float32."""
        return self.read(row_states(self.trunk, ids_bt, lengths_b))

    def read(self, hidden: Tensor) -> Tensor:
        """The values of hidden states [..., width]."""
        return hidden.float() @ self.head.float() - self.get_buffer("bias")

    def forward(self, ids_bt: Tensor, last_b: Tensor) -> Tensor:
        """What is read at each row's last real token, [b]: the reward but for the parent's part."""
        return self.values(ids_bt, last_b + 1).gather(1, last_b[:, None]).squeeze(1)


@dataclass(frozen=True, slots=True)
class Ranked:
    """One prompt's answers as whole token rows, with the ratings that order them.

    Ratings that differ by no more than `margin` count as ties: of two equally wrong answers one is
    always rated a little higher by chance, and such pairs teach nothing but noise. Prompts of one
    `topic` (how they open) are not independent: they are kept on one side of a split. An answer
    begins at `start`; the prompt counts `weight` times in the loss; `sure` is what the parent makes
    of each answer (`likelihood.sureness`), where it has been asked.
    """

    rows: tuple[tuple[int, ...], ...]
    ratings: tuple[float, ...]
    margin: float = 0.0
    topic: str = ""
    start: int = 0
    weight: float = 1.0
    sure: tuple[float, ...] = ()

    def pairs(self) -> list[tuple[int, int]]:
        """(better, worse) of every pair that is no tie."""
        order = range(len(self.ratings))
        return [
            (i, j) for i in order for j in order if self.ratings[i] - self.ratings[j] > self.margin
        ]


def digest(ranked: Sequence[Ranked], order: Sequence[int] | np.ndarray) -> str:
    """The hash of rankings in the order that they are learnt from.

    How sure the parent is is left out: it follows from the rows, but for the last bit.
    """
    told = [(one.rows, one.ratings, one.margin, one.weight) for one in ranked]
    return sha256_json([told, np.asarray(order).tolist()])


def ranking_loss(
    rewards: Tensor,
    groups: Sequence[Sequence[tuple[int, int]]],
    weights: Sequence[float] | None = None,
) -> Tensor:
    """-log sigmoid(better - worse), averaged over a prompt's pairs, then over prompts.

    `groups` holds for each prompt its (better, worse) places in `rewards` [n]; a prompt counts
    `weights` times, once if None.
    """
    losses = []
    for pairs, weight in zip(groups, weights or [1.0] * len(groups)):
        better = rewards[[i for i, _ in pairs]]
        worse = rewards[[j for _, j in pairs]]
        losses.append(-weight * functional.logsigmoid(better - worse).mean())
    return torch.stack(losses).mean()


def batch_loss(
    model: RewardModel, batch: Sequence[Ranked], pad: int, likelihood: float = 0.0
) -> tuple[Tensor, int]:
    """The ranking loss of some prompts, and how many tokens were read."""
    rows = [row for ranked in batch for row in ranked.rows]
    ids, lengths = move(right_pad(rows, pad), next(model.parameters()).device)
    rewards = model(ids, lengths - 1)
    if likelihood:
        sure = torch.tensor([value for ranked in batch for value in ranked.sure])
        rewards = rewards + likelihood * sure.to(rewards)
    groups, start = [], 0
    for ranked in batch:
        groups.append([(start + i, start + j) for i, j in ranked.pairs()])
        start += len(ranked.rows)
    weights = [ranked.weight for ranked in batch]
    return ranking_loss(rewards, groups, weights), int(lengths.sum())


def with_sureness(parent: Decoder, ranked: Sequence[Ranked], pad: int) -> list[Ranked]:
    """The same rankings with how sure `parent` is of each answer."""
    told = iter(sureness(parent, *flat(ranked), pad).tolist())
    return [replace(one, sure=tuple(islice(told, len(one.rows)))) for one in ranked]


@torch.no_grad()
def score_rows(
    model: RewardModel,
    rows: Sequence[Sequence[int]],
    pad: int,
    starts: Sequence[int],
    batch: int = 128,
) -> np.ndarray:
    """Rewards of whole token rows, [n], in length-sorted batches; answers begin at `starts`."""
    out = np.zeros(len(rows), dtype=np.float32)
    parent = model.parent
    device = next(model.parameters()).device
    for chosen in by_length(rows, batch):
        asked = [rows[n][: starts[n]] for n in chosen]
        ids, answer = move(lay_out(asked, [rows[n][starts[n] :] for n in chosen], pad), device)
        last = torch.tensor([len(rows[n]) - 1 for n in chosen], device=device)
        if parent is None:
            scores = model(ids, last)
        else:
            hidden = parent(ids)
            shared = parent is model.trunk  # one pass tells both parts
            scores = (
                model.read(hidden[torch.arange(len(last)), last]) if shared else model(ids, last)
            )
            sure = mean_log_probability(parent, hidden, ids, answer) - model.get_buffer("usual")
            scores = scores + model.get_buffer("likelihood") * sure
        out[chosen] = scores.cpu().numpy()
    return out


def score_ranked(model: RewardModel, ranked: Sequence[Ranked], pad: int) -> np.ndarray:
    """Rewards of all answers of some rankings, one ranking after the other, [n]."""
    rows, starts = flat(ranked)
    return score_rows(model, rows, pad, starts)


def flat(ranked: Sequence[Ranked]) -> tuple[list[tuple[int, ...]], list[int]]:
    """All rows of some rankings, and where the answer begins in each."""
    rows = [row for one in ranked for row in one.rows]
    return rows, [one.start for one in ranked for _ in one.rows]


def accuracy(model: RewardModel, held: Sequence[Ranked], pad: int) -> tuple[float, int]:
    """Share of held-out pairs ordered as rated, and the number of pairs."""
    if not held:
        return float("nan"), 0
    scores = score_ranked(model, held, pad)
    right = total = start = 0
    for ranked in held:
        for i, j in ranked.pairs():
            right += bool(scores[start + i] > scores[start + j])
            total += 1
        start += len(ranked.rows)
    return right / max(total, 1), total


def save_reward(model: RewardModel, folder: Path) -> None:
    """Write the reward model as `reward.safetensors` and `reward.json`."""
    tensors = {
        name: tensor.detach().float().contiguous().clone()
        for name, tensor in model.state_dict().items()
        if model.parent is not model.trunk or not name.startswith("parent.")
    }
    write_atomic(folder / "reward.safetensors", save(tensors))
    write_json(folder / "reward.json", model.config.to_dict())


def load_reward(folder: Path) -> RewardModel:
    """Read what `save_reward` wrote."""
    config = ModelConfig(**read_json(folder / "reward.json"))
    model = RewardModel(Decoder(config))
    try:
        tensors = load_file(folder / "reward.safetensors")
        if any(name.startswith("parent.") for name in tensors):
            model.parent = Decoder(config)
        elif float(tensors.get("likelihood", 0.0)):
            model.parent = model.trunk
            trunk = {k: v for k, v in tensors.items() if k.startswith("trunk.")}
            tensors |= {k.replace("trunk.", "parent.", 1): v for k, v in trunk.items()}
        for name in ("likelihood", "usual"):  # which a folder of an earlier release has not
            tensors.setdefault(name, torch.zeros(()))
    except Exception as error:
        raise RegrowError(
            f"{folder / 'reward.safetensors'} cannot be read ({error}); delete it and run again"
        ) from error
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise RegrowError(
            f"{folder} holds a reward model of another shape; regrow the node"
        ) from error
    return model
