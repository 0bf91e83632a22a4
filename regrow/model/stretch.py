"""A trained decoder at another context length."""

from __future__ import annotations

from dataclasses import replace

import torch

from regrow.model.decoder import Decoder


@torch.no_grad()
def at_context(model: Decoder, context: int, seed: int) -> Decoder:
    """A copy of a model that reads `context` tokens.

    Rotary and ALiBi positions go on as they were. Learned ones (GPT-3, OPT) have no rows beyond
    the old length: new rows start as those of a new model, drawn from `seed`.
    """
    stretched = Decoder(replace(model.config, context=context), seed=seed).to(model.embedding.dtype)
    learned = dict(model.named_parameters())
    for name, weight in stretched.named_parameters():
        rows = min(len(weight), len(learned[name]))
        weight[:rows] = learned[name][:rows]
    return stretched.train(model.training)
