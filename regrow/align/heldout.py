"""How well a model answers conversations that it does not learn from, by set: loss and form.

Loss is in nats a token of the answers. Form is whether a greedy answer stops by itself, and, where
the written answer closes with "The answer is N.", whether it closes so and with the same N.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from regrow.align.lesson import set_of
from regrow.align.rows import asked_ids, laid_out
from regrow.corpus.tokenizer import Tokenizer
from regrow.generate.sampler import Sampling, generate
from regrow.model.decoder import Decoder
from regrow.progress import Progress, silent
from regrow.records import Conversation
from regrow.seeds import derive

_CLOSING = re.compile(r"The answer is (.+)\.$")


def sample(talks: Sequence[Conversation], most: int) -> dict[str, list[Conversation]]:
    """At most so many conversations of each set, the same ones whatever else there is."""
    sets: dict[str, list[Conversation]] = defaultdict(list)
    for talk in sorted(talks, key=lambda talk: derive("held item", talk.key)):
        if len(sets[set_of(talk)]) < most:
            sets[set_of(talk)].append(talk)
    return dict(sorted(sets.items()))


@torch.no_grad()
def measure(
    model: Decoder,
    tokenizer: Tokenizer,
    sets: Mapping[str, Sequence[Conversation]],
    length: int,
    window: int,
    progress: Progress = silent,
) -> dict[str, Any]:
    """For each set, a row for each conversation: `loss` (summed over its answers' tokens),
    `tokens`, and of the last answer `ended`, `closed` and `right`.

    As in tuning, of a conversation longer than `window` tokens the end is taken. An answer of
    `length` tokens is drawn where it fits the window as well, else its figures are absent; so are
    `closed` and `right` where the written answer has no such closing.
    """
    talks = [talk for some in sets.values() for talk in some]
    progress(0, 1, phase="held-out losses")
    rows = [_loss(model, *laid_out(talk, tokenizer), window) for talk in talks]
    progress(0, 1, phase="held-out answers")
    for row, form in zip(rows, _forms(model, tokenizer, talks, length, window), strict=True):
        row |= form
    each = iter(rows)
    return {name: [next(each) for _ in some] for name, some in sets.items()}


def _loss(model: Decoder, ids: Sequence[int], mask: Sequence[int], window: int) -> dict[str, Any]:
    device = model.embedding.device
    x = torch.tensor([ids[-window:]], device=device)
    counts = torch.tensor(mask[-window:], device=device)[1:].bool()
    logits = model.logits(model(x[:, :-1])[0, counts])
    loss = functional.cross_entropy(logits, x[0, 1:][counts], reduction="sum")
    return {"loss": round(float(loss), 5), "tokens": int(counts.sum())}


def _forms(
    model: Decoder,
    tokenizer: Tokenizer,
    talks: Sequence[Conversation],
    length: int,
    window: int,
) -> list[dict[str, int]]:
    prompts = [asked_ids(replace(talk, messages=talk.messages[:-1]), tokenizer) for talk in talks]
    fits = [n for n, prompt in enumerate(prompts) if len(prompt) <= window - length]
    sampling = Sampling(length, stop_ids=(tokenizer.end, tokenizer.eos))
    drawn = generate(model, tokenizer, [prompts[n] for n in fits], sampling) if fits else []
    forms: list[dict[str, int]] = [{} for _ in talks]
    for n, (answer,) in zip(fits, drawn, strict=True):
        forms[n]["ended"] = int(answer.finished)
        if wanted := _CLOSING.search(talks[n].messages[-1].content):
            found = _CLOSING.search(answer.text.strip()) if answer.finished else None
            forms[n]["closed"] = int(found is not None)
            forms[n]["right"] = int(found is not None and found[1] == wanted[1])
    return forms


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """By set: each figure before and after as [value, standard error], and the paired change.

    Conversations are the units of the errors; losses weigh them by their tokens (a ratio, so its
    error is that of the linearised residuals).
    """
    told = {}
    for name, was in before.items():
        now = after[name]
        tokens = np.array([row["tokens"] for row in was], dtype=float)
        losses = [np.array([row["loss"] for row in rows]) for rows in (was, now)]
        figures: dict[str, Any] = {"n": len(was), "tokens": int(tokens.sum())}
        for key, values in zip(("before", "after", "change"), (*losses, losses[1] - losses[0])):
            figures.setdefault("loss", {})[key] = _ratio(values, tokens)
        for form in ("ended", "closed", "right"):
            pairs = [(a[form], b[form]) for a, b in zip(was, now) if form in a]
            if pairs:
                a, b = np.array(pairs, dtype=float).T
                ones = np.ones(len(a))
                figures[form] = {
                    "n": len(a), "before": _ratio(a, ones), "after": _ratio(b, ones),
                    "change": _ratio(b - a, ones),
                }  # fmt: skip
        told[name] = figures
    return told


def _ratio(values: np.ndarray, weights: np.ndarray) -> list[float | None]:
    """sum(values) / sum(weights) with its standard error; None for that of a single one."""
    n, whole = len(values), weights.sum()
    if n == 0 or whole == 0:
        return [None, None]
    mean = float(values.sum() / whole)
    if n == 1:
        return [round(mean, 4), None]
    residuals = values - mean * weights
    error = math.sqrt(n / (n - 1) * float((residuals**2).sum())) / whole
    return [round(mean, 4), round(float(error), 4)]
