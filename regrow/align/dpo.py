"""DPO: preferences learnt without a reward model (Rafailov et al. 2023, eq. 7).

The policy is its own reward model: an answer is worth beta * log(pi / pi_ref). What is minimised is
the ranking loss of a reward model on that, so all pairs of a prompt stand in one batch element here
as well. In each pair the prompt, and whatever else its answers begin with alike, adds the same to
both sides and cancels; log-probabilities are taken from where the rows part.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regrow.align.fit import stepped
from regrow.align.likelihood import token_log_probabilities
from regrow.align.reward import Ranked, digest, ranking_loss
from regrow.errors import RegrowError
from regrow.model.decoder import Decoder
from regrow.model.rows import right_pad
from regrow.progress import Progress, silent
from regrow.seeds import rng
from regrow.train.device import move
from regrow.train.loop import TrainSettings, train


def parted(ranked: Ranked, pad: int) -> tuple[Tensor, Tensor]:
    """Ids [k, t + 1] of a prompt's rows and the mask [k, t] of the targets after they part."""
    ids, lengths = right_pad(ranked.rows, pad)
    columns = enumerate(zip(*ranked.rows))
    same = next((t for t, ids_k in columns if len(set(ids_k)) > 1), min(map(len, ranked.rows)))
    place = torch.arange(ids.shape[1] - 1)[None]
    return ids, ((place >= same - 1) & (place < lengths[:, None] - 1)).float()


def implicit_rewards(
    policy: Decoder, reference: Decoder, ids: Tensor, answer: Tensor, beta: float
) -> Tensor:
    """beta * log(pi / pi_ref) of each row's answer, [n]."""
    with torch.no_grad():
        before = token_log_probabilities(reference, ids, answer).sum(1)
    return beta * (token_log_probabilities(policy, ids, answer).sum(1) - before)


def batch_loss(
    policy: Decoder, reference: Decoder, batch: Sequence[Ranked], pad: int, beta: float
) -> tuple[Tensor, int]:
    """Eq. 7 over all pairs of some prompts, and how many answer tokens were read."""
    rewards: list[Tensor] = []
    groups: list[list[tuple[int, int]]] = []
    first = tokens = 0
    for ranked in batch:
        ids, answer = move(parted(ranked, pad), policy.embedding.device)
        rewards.append(implicit_rewards(policy, reference, ids, answer, beta))
        groups.append([(first + i, first + j) for i, j in ranked.pairs()])
        first, tokens = first + len(ids), tokens + int(answer.sum())
    weights = [ranked.weight for ranked in batch]
    return ranking_loss(torch.cat(rewards), groups, weights), tokens


@torch.no_grad()
def preferred(
    policy: Decoder, reference: Decoder, held: Sequence[Ranked], pad: int
) -> tuple[float, int]:
    """Share of held-out pairs in which the better answer gained more, and the number of pairs."""
    right = total = 0
    for ranked in held:
        worth = implicit_rewards(policy, reference, *parted(ranked, pad), 1.0)
        right += sum(bool(worth[i] > worth[j]) for i, j in ranked.pairs())
        total += len(ranked.pairs())
    return right / max(1, total), total


def fit_dpo(
    policy: Decoder,
    learn: Sequence[Ranked],
    sequence: Sequence[int] | np.ndarray,
    test: Sequence[Ranked],
    settings: TrainSettings,
    folder: Path,
    *,
    beta: float,
    pad: int,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Learn from ranked answers in the order of `sequence`, places in `learn` (see `sequence_of`).

    `settings.rows` counts prompts a step, and `settings.total` is the length of the sequence. The
    policy as it comes is the reference. `test` are rankings that are not learnt from.
    """
    start = copy.deepcopy(policy).eval()
    same: list[Decoder] = []  # the start in the precision of training, so that both round alike

    def batch_of(step: int, first: int, rows: int) -> list[Ranked]:
        return [learn[i] for i in sequence[first : first + rows]]

    def loss_of(model: Decoder, batch: Sequence[Ranked]) -> tuple[Tensor, int]:
        if not same:
            same.append(copy.deepcopy(start).to(model.embedding))
        return batch_loss(model, same[0], batch, pad, beta)

    data = f"{digest(learn, sequence)} beta {beta}"
    summary = train(policy.eval(), loss_of, batch_of, settings, folder, progress, data=data)
    stepped(summary, folder)
    right, pairs = preferred(policy, start, test, pad)
    return {
        "training": summary.to_dict(), "accuracy": round(right, 4), "pairs": pairs,
        "accuracy_error": round((right * (1 - right) / max(1, pairs)) ** 0.5, 4),
        "prompts": len(learn), "epochs": round(len(sequence) / len(learn), 2),
    }  # fmt: skip


def sequence_of(learn: Sequence[Ranked], tokens: int, seed: int) -> np.ndarray:
    """Which prompts are learnt from in turn, until their rows hold so many tokens: places in
    `learn`, in a new order each epoch. Raises RegrowError where there are too few."""
    if len(learn) < 4:
        raise RegrowError(
            f"only {len(learn)} prompts have answers of different rating; sample more prompts or "
            "lower margin"
        )
    sizes = np.array([sum(map(len, one.rows)) for one in learn])
    epochs = -(-tokens // int(sizes.sum()))
    order = np.concatenate(
        [rng(seed, "dpo epoch", n).permutation(len(learn)) for n in range(epochs)]
    )
    return order[: max(1, int(np.searchsorted(np.cumsum(sizes[order]), tokens, side="right")))]
