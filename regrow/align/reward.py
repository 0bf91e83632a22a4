"""A reward model: the parent's decoder with one number at the last token of the answer.

K-wise batches after InstructGPT (Ouyang et al. 2022, sec. 3.5): all pairs of one prompt's ranked
answers stand in one batch element, ties are dropped, the loss is averaged over the pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional

from regrow.errors import RegrowError
from regrow.files import read_json, sha256_json, write_atomic, write_json
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.seeds import derive
from regrow.train.device import move


class RewardModel(nn.Module):
    """A decoder with a scalar head; `bias` shifts the rewards so that demonstrations average 0."""

    def __init__(self, trunk: Decoder, seed: int = 0) -> None:
        super().__init__()
        width = trunk.config.width
        self.config = trunk.config
        self.trunk = trunk
        generator = torch.Generator().manual_seed(derive(seed, "reward head") % 2**31)
        # N(0, 1/sqrt(d + 1)) and bias 0 (Stiennon et al. 2020, code release).
        self.head = nn.Parameter(torch.randn(width, generator=generator) * (width + 1) ** -0.5)
        self.register_buffer("bias", torch.zeros(()))

    def values(self, ids_bt: Tensor) -> Tensor:
        """A value for every position, [b, t], float32."""
        hidden = self.trunk(ids_bt).float()
        return hidden @ self.head.float() - self.get_buffer("bias")

    def forward(self, ids_bt: Tensor, last_b: Tensor) -> Tensor:
        """The reward read at each row's last real token, [b]."""
        return self.values(ids_bt).gather(1, last_b[:, None]).squeeze(1)


@dataclass(frozen=True, slots=True)
class Ranked:
    """One prompt's answers as whole token rows, with the ratings that order them.

    Ratings that differ by no more than `margin` count as ties: of two equally wrong answers one is
    always rated a little higher by chance, and such pairs teach nothing but noise. Prompts of one
    `topic` (how they open) are not independent: they are kept on one side of a split.
    """

    rows: tuple[tuple[int, ...], ...]
    ratings: tuple[float, ...]
    margin: float = 0.0
    topic: str = ""

    def pairs(self) -> list[tuple[int, int]]:
        """(better, worse) of every pair that is no tie."""
        order = range(len(self.ratings))
        return [
            (i, j) for i in order for j in order if self.ratings[i] - self.ratings[j] > self.margin
        ]


def digest(ranked: Sequence[Ranked], order: Sequence[int] | np.ndarray) -> str:
    """The hash of rankings in the order that they are learnt from."""
    told = [(one.rows, one.ratings, one.margin) for one in ranked]
    return sha256_json([told, np.asarray(order).tolist()])


def pad_right(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Ids [b, t] padded on the right, where causal attention never sees it, and last places [b]."""
    length = max(map(len, rows))
    ids = np.full((len(rows), length), pad, dtype=np.int64)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = row
    return torch.from_numpy(ids), torch.tensor([len(row) - 1 for row in rows])


def ranking_loss(rewards: Tensor, groups: Sequence[Sequence[tuple[int, int]]]) -> Tensor:
    """-log sigmoid(better - worse), averaged over a prompt's pairs, then over prompts.

    `groups` holds for each prompt its (better, worse) places in `rewards` [n].
    """
    losses = []
    for pairs in groups:
        better = rewards[[i for i, _ in pairs]]
        worse = rewards[[j for _, j in pairs]]
        losses.append(-functional.logsigmoid(better - worse).mean())
    return torch.stack(losses).mean()


def batch_loss(model: RewardModel, batch: Sequence[Ranked], pad: int) -> tuple[Tensor, int]:
    """The ranking loss of some prompts, and how many tokens were read."""
    rows = [row for ranked in batch for row in ranked.rows]
    ids, last = move(pad_right(rows, pad), next(model.parameters()).device)
    rewards = model(ids, last)
    groups, start = [], 0
    for ranked in batch:
        groups.append([(start + i, start + j) for i, j in ranked.pairs()])
        start += len(ranked.rows)
    return ranking_loss(rewards, groups), int((last + 1).sum())


@torch.no_grad()
def score_rows(
    model: RewardModel, rows: Sequence[Sequence[int]], pad: int, batch: int = 128
) -> np.ndarray:
    """Rewards of whole token rows, [n], in length-sorted batches."""
    order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
    out = np.zeros(len(rows), dtype=np.float32)
    device = next(model.parameters()).device
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        ids, last = move(pad_right([rows[n] for n in chosen], pad), device)
        out[chosen] = model(ids, last).cpu().numpy()
    return out


def accuracy(model: RewardModel, held: Sequence[Ranked], pad: int) -> tuple[float, int]:
    """Share of held-out pairs ordered as rated, and the number of pairs."""
    rows = [row for ranked in held for row in ranked.rows]
    if not rows:
        return float("nan"), 0
    scores = score_rows(model, rows, pad)
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
    }
    write_atomic(folder / "reward.safetensors", save(tensors))
    write_json(folder / "reward.json", model.config.to_dict())


def load_reward(folder: Path) -> RewardModel:
    """Read what `save_reward` wrote."""
    config = ModelConfig(**read_json(folder / "reward.json"))
    model = RewardModel(Decoder(config))
    try:
        tensors = load_file(folder / "reward.safetensors")
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
