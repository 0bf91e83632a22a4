"""How likely a model finds answers: token rows laid out side by side, and log-probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from regrow.model.decoder import Decoder
from regrow.model.rows import right_pad, row_states
from regrow.train.device import move


def lay_out(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], pad: int
) -> tuple[Tensor, Tensor]:
    """Ids [n, t + 1] and the mask of answer targets [n, t].

    Padding stands on the right, where causal attention never sees it and no position moves.
    """
    ids, lengths = right_pad([[*p, *a] for p, a in zip(prompts, answers)], pad)
    place = torch.arange(ids.shape[1] - 1)[None]
    starts = torch.tensor([len(p) - 1 for p in prompts])[:, None]
    return ids, ((place >= starts) & (place < lengths[:, None] - 1)).float()


def trimmed(ids: Tensor, answer: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Some rows of ids and mask, without the padding that all of them share."""
    t = int(last_places(answer[rows]).max()) + 1
    return ids[rows, : t + 1], answer[rows, :t]


def last_places(answer: Tensor) -> Tensor:
    """The place of each row's last answer token, [n]."""
    return (answer * torch.arange(1, answer.shape[1] + 1)).argmax(1)


def token_log_probabilities(
    model: Decoder, ids: Tensor, answer: Tensor, temperature: float = 1.0
) -> Tensor:
    """log pi of each target under logits / temperature, [n, t]; 0 outside the answer."""
    hidden = row_states(model, ids[:, :-1], last_places(answer) + 1)
    return _of_hidden(model, hidden, ids, answer, temperature)


def _of_hidden(
    model: Decoder, hidden: Tensor, ids: Tensor, answer: Tensor, temperature: float
) -> Tensor:
    """The same of the hidden states [n, t, width] that tell the targets.

    Only answer positions go through the output matrix, which is most of the cost of a small model.
    """
    chosen = answer.bool()
    logits = model.logits(hidden[chosen]) / temperature
    picked = -functional.cross_entropy(logits, ids[:, 1:][chosen], reduction="none")
    out = torch.zeros(answer.shape, dtype=torch.float32, device=picked.device)
    return out.masked_scatter(chosen, picked)


@torch.no_grad()
def log_probabilities(
    model: Decoder,
    ids: Tensor,
    answer: Tensor,
    parts: Sequence[Tensor],
    temperature: float = 1.0,
) -> Tensor:
    """The same without gradients, each of `parts` (rows) in a forward pass of its own."""
    out = torch.zeros_like(answer)
    for rows in parts:
        own, mask = trimmed(ids, answer, rows)
        out[rows, : mask.shape[1]] = token_log_probabilities(model, own, mask, temperature)
    return out


def by_length(rows: Sequence[Sequence[int]], batch: int = 128) -> Iterator[list[int]]:
    """The places of rows, in batches of like length."""
    order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
    yield from (order[first : first + batch] for first in range(0, len(order), batch))


def mean_log_probability(model: Decoder, hidden: Tensor, ids: Tensor, answer: Tensor) -> Tensor:
    """The mean of log pi over the tokens of each answer, [n], of the hidden states of `ids`."""
    sums = _of_hidden(model, hidden[:, :-1], ids, answer, 1.0).sum(1)
    return sums / answer.sum(1).clamp(min=1)


@torch.no_grad()
def sureness(
    model: Decoder, rows: Sequence[Sequence[int]], starts: Sequence[int], pad: int
) -> np.ndarray:
    """How sure a model is of answers: the mean of log p over the tokens of each, [n].

    Rows hold prompt and answer, which begins at the row's place in `starts`.
    """
    out = np.zeros(len(rows), dtype=np.float32)
    for chosen in by_length(rows):
        asked = [rows[n][: starts[n]] for n in chosen]
        answers = [rows[n][starts[n] :] for n in chosen]
        ids, answer = move(lay_out(asked, answers, pad), model.embedding.device)
        out[chosen] = mean_log_probability(model, model(ids), ids, answer).cpu().numpy()
    return out
