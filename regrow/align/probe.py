"""Linear fits to rankings: of the parent's sureness, and of a head on hidden states as they are.

Convex, so one optimum, in seconds where training all weights takes minutes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from regrow.align.likelihood import by_length, lay_out, mean_log_probability
from regrow.align.reward import Ranked, RewardModel, flat
from regrow.errors import RegrowError
from regrow.model.decoder import Decoder
from regrow.train.device import move

#: What holds the weights of a head down.
RIDGE = 0.1


def fit_linear(
    ranked: Sequence[Ranked], features: np.ndarray, ridge: Sequence[float] | float = 0.0
) -> tuple[np.ndarray, float]:
    """The weights [k], within +-20, under which the weighted sum of features orders the pairs best,
    and the ranking loss under them.

    `features` [n, k] are those of all answers. The ranking loss, each prompt counting its weight,
    plus half of `ridge` times the squared weights: convex, so one optimum.
    """
    from scipy.optimize import minimize

    firsts = np.cumsum([0, *(len(one.rows) for one in ranked)]).tolist()
    apart, share = [], []
    for one, first in zip(ranked, firsts):
        pairs = one.pairs()
        apart += [features[first + i] - features[first + j] for i, j in pairs]
        share += [one.weight / max(1, len(pairs))] * len(pairs)
    if not apart:
        raise RegrowError(
            "nothing was learnt: no prompt has answers of different rating; rate more"
        )
    differences = torch.tensor(np.array(apart), dtype=torch.float64)
    shares = torch.tensor(share, dtype=torch.float64) / sum(share)
    cost = torch.as_tensor(ridge, dtype=torch.float64)

    def ranking(weights: torch.Tensor) -> torch.Tensor:
        return -(shares * functional.logsigmoid(differences @ weights)).sum()

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        w = torch.tensor(weights, requires_grad=True)
        value = ranking(w) + (cost * w * w).sum() / 2
        (slope,) = torch.autograd.grad(value, w)
        return float(value.detach()), slope.numpy()

    start = np.zeros(features.shape[1])
    bounds = [(-20.0, 20.0)] * len(start)
    found = np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x)
    return found, float(ranking(torch.from_numpy(found)))


def fit_likelihood(ranked: Sequence[Ranked]) -> float:
    """The weight of the parent's sureness under which it alone orders the pairs best."""
    sure = np.array([[value] for one in ranked for value in one.sure])
    return float(fit_linear(ranked, sure)[0][0])


def fit_head(
    model: RewardModel, ranked: Sequence[Ranked], pad: int, with_parent: bool
) -> tuple[float, float]:
    """Fit the head alone, on the trunk as it is; returns the weight of how sure the trunk, which is
    the parent, is of an answer (`with_parent`, else 0), and the loss.

    A linear probe (Alain and Bengio 2016) of the hidden states at the answers' last tokens, each
    scaled to deviate by 1 and its weight held down by `RIDGE`.
    """
    hidden, sure = _read(model.trunk, ranked, pad)
    scale = hidden.std(0) + 1e-6
    features, ridge = hidden / scale, [RIDGE] * hidden.shape[1]
    if with_parent:
        features, ridge = np.column_stack([features, sure]), [*ridge, 0.0]
    weights, loss = fit_linear(ranked, features, ridge)
    model.head.data.copy_(torch.from_numpy(weights[: len(scale)] / scale))
    return (float(weights[-1]) if with_parent else 0.0), loss


@torch.no_grad()
def _read(trunk: Decoder, ranked: Sequence[Ranked], pad: int) -> tuple[np.ndarray, np.ndarray]:
    """The hidden states at the last token of every answer [n, width], and how sure of it [n]."""
    rows, starts = flat(ranked)
    hidden, sure = np.zeros((len(rows), trunk.config.width)), np.zeros(len(rows))
    for chosen in by_length(rows):
        asked = [rows[n][: starts[n]] for n in chosen]
        ids, answer = move(
            lay_out(asked, [rows[n][starts[n] :] for n in chosen], pad), trunk.embedding.device
        )
        states = trunk(ids)
        last = torch.tensor([len(rows[n]) - 1 for n in chosen], device=ids.device)
        hidden[chosen] = states[torch.arange(len(last)), last].double().cpu().numpy()
        sure[chosen] = mean_log_probability(trunk, states, ids, answer).cpu().numpy()
    return hidden, sure
