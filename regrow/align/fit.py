"""Fit a decoder to rows, or a reward model to rankings, with the one training loop."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from regrow.align.likelihood import sureness
from regrow.align.probe import fit_head, fit_likelihood
from regrow.align.reward import (
    Ranked,
    RewardModel,
    accuracy,
    batch_loss,
    digest,
    score_rows,
    with_sureness,
)
from regrow.align.rows import Rows, TextRows, stack, stack_parts
from regrow.corpus.mixture import Schedule
from regrow.corpus.shards import Shards
from regrow.errors import RegrowError
from regrow.files import sha256_json
from regrow.model.decoder import Decoder
from regrow.progress import Progress, silent
from regrow.seeds import rng
from regrow.train.loop import Alter, Keep, TrainSettings, TrainSummary, train


def fit_rows(
    model: Decoder,
    supply: Rows,
    settings: TrainSettings,
    folder: Path,
    *,
    z_loss: float = 0.0,
    packing: str = "across",
    progress: Progress = silent,
    marks: Mapping[int, Keep] = MappingProxyType({}),
    alters: Mapping[int, Alter] = MappingProxyType({}),
) -> TrainSummary:
    """Next-token prediction on the weighted targets of rows 0..settings.total.

    Documents share rows. With packing `across` attention crosses from one into the next (GPT-3,
    section 2.2), with `within` it does not and positions begin anew (Llama 3, section 3.2).
    Raises RegrowError as `train` does, so where `folder` holds a run on other rows.
    """

    def batch_of(step: int, first: int, rows: int) -> Any:
        batch = list(stack(supply, first, rows))
        if packing == "within":
            batch.append(stack_parts(supply, first, rows))
        return tuple(map(torch.from_numpy, batch))

    def loss_of(model: Decoder, batch: Any) -> Any:
        inputs, targets, weights, *documents = batch
        whole = None if bool(weights.all()) else weights
        apart = {"documents_bt": documents[0]} if documents else {}
        return model.loss(inputs, targets, whole, z_loss, **apart)

    parts = [supply, *getattr(supply, "supplies", ())]
    shards = [one.schedule.shards.manifest for one in parts if isinstance(one, TextRows)]
    first = supply.row(0)[0].tolist()  # where conversations are encoded otherwise it shows here
    data = sha256_json([supply.told(), shards, first, packing, z_loss])
    summary = train(
        model, loss_of, batch_of, settings, folder, progress, marks=marks, alters=alters, data=data
    )
    return stepped(summary, folder)


def stepped(summary: TrainSummary, folder: Path) -> TrainSummary:
    """The summary of a run. Raises RegrowError where the run has not moved the model at all."""
    if summary.steps == 0:
        raise RegrowError(
            "nothing was learnt: every batch was passed over, for losses or gradients that are no "
            f"numbers ({folder / 'metrics.jsonl'} has them); check the data, or lower settings.rate"
        )
    return summary


def fit_text(
    model: Decoder,
    corpus: Path,
    folder: Path,
    *,
    tokens: int,
    weights: Mapping[str, float] | None = None,
    settings: TrainSettings | None = None,
    packing: str = "across",
    progress: Progress = silent,
) -> TrainSummary:
    """Train on `tokens` tokens of a corpus that `regrow.corpus.build` wrote.

    `weights` mix its sources, by their size if None. `settings.total` is set here. Killed and
    called again it goes on from `folder`. Raises RegrowError as `train` does, and where the
    vocabulary of the corpus does not fit the model's.
    """
    shards, context = Shards.open(corpus), model.config.context
    if shards.vocabulary > model.config.vocabulary:
        raise RegrowError(
            f"the tokenizer of {corpus} has {shards.vocabulary} entries, the model's vocabulary "
            f"{model.config.vocabulary}; give it at least as many"
        )
    total = max(1, tokens // context)
    settings = replace(settings or TrainSettings(total), total=total)
    sizes = {source: float(shards.count(source)) for source in shards.sources}
    rows = TextRows(Schedule(shards, weights or sizes, context, settings.seed, total))
    return fit_rows(model, rows, settings, folder, packing=packing, progress=progress)


def fit_reward(
    model: RewardModel,
    ranked: Sequence[Ranked],
    demonstrations: Sequence[tuple[Sequence[int], int]],
    settings: TrainSettings,
    folder: Path,
    *,
    pad: int,
    epochs: int = 1,
    held: float = 0.1,
    parent: Decoder | None = None,
    head_alone: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Fit a reward model to ranked answers, keeping a share of the prompts to test it on.

    `settings.rows` counts prompts a step; its total is set here. Afterwards the rewards are
    shifted so that `demonstrations` (token rows, and where the answer begins) average 0 (Ouyang et
    al. 2022, app. C.2). With `parent` its sureness of an answer is part of the reward; the weight
    of that is fitted first, then the model learns what is left to be told. With `head_alone` the
    trunk stays the parent that it must be, and the head is fitted in one go (`probe.fit_head`).
    """
    if len(ranked) < 4:
        raise RegrowError(
            f"only {len(ranked)} prompts have answers of different rating; sample more prompts or "
            "lower reward.margin"
        )
    order = rng(settings.seed, "reward split").permutation(len(ranked))
    aside = max(1, round(held * len(ranked))) if held else 0
    test = [ranked[i] for i in order[:aside]]
    learn = [ranked[i] for i in order[aside:]]
    orders = [rng(settings.seed, "reward epoch", e).permutation(len(learn)) for e in range(epochs)]
    sequence = np.concatenate(orders)

    def batch_of(step: int, first: int, rows: int) -> list[Ranked]:
        return [learn[i] for i in sequence[first : first + rows]]

    settings = replace(settings, total=len(sequence), rows=min(settings.rows, len(sequence)))
    likelihood = 0.0
    if head_alone:
        began = time.perf_counter()
        progress(0, 1, phase="fitting the head")
        likelihood, loss = fit_head(model.float().eval(), learn, pad, parent is not None)
        parent = model.trunk if parent is not None else None
        seconds = round(time.perf_counter() - began, 2)
    else:
        if parent is not None:
            parent = copy.deepcopy(parent).float().eval()
            learn = with_sureness(parent, learn, pad)
            likelihood = fit_likelihood(learn)

        def loss_of(model: RewardModel, batch: Sequence[Ranked]) -> tuple[torch.Tensor, int]:
            return batch_loss(model, batch, pad, likelihood)

        data = f"{digest(learn, sequence)} {'without' if parent is None else 'with'} the parent"
        summary = train(model, loss_of, batch_of, settings, folder, progress, data=data)
        stepped(summary, folder)
        loss, seconds = summary.loss, summary.seconds
    model.eval()
    if demonstrations:  # both parts of a reward come to average 0
        rows, starts = zip(*demonstrations)
        model.get_buffer("bias").add_(float(np.mean(score_rows(model, rows, pad, starts))))
        if parent is not None:
            model.get_buffer("usual").fill_(float(np.mean(sureness(parent, rows, starts, pad))))
    model.parent = parent
    model.get_buffer("likelihood").fill_(likelihood)
    right, pairs = accuracy(model, test, pad)
    error = (right * (1 - right) / max(1, pairs)) ** 0.5
    return {
        "accuracy": round(right, 4), "accuracy_error": round(error, 4), "pairs": pairs,
        "prompts": len(learn), "loss": loss, "seconds": seconds,
        "likelihood": round(likelihood, 4),
    }  # fmt: skip
