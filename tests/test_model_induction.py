"""The structured start: it looks back and copies before any training, and stays a plain decoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from regrow.errors import RegrowError
from regrow.model import fused
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.induction import wire_induction
from regrow.seeds import rng

CONFIG = ModelConfig(
    vocabulary=512, width=128, layers=3, heads=4, kv_heads=4, hidden=128, context=128,
    rope_theta=100_000.0,
)  # fmt: skip


def wired() -> Decoder:
    model = Decoder(CONFIG, seed=0)
    wire_induction(model, seed=0)
    return model


def repeated(n: int, rows: int) -> torch.Tensor:
    draw = [rng("repeat", r).permutation(512)[:n] for r in range(rows)]
    return torch.tensor([[*row, *row] for row in draw])


def test_first_head_looks_at_the_token_before() -> None:
    model = wired()
    ids = repeated(20, 1)
    y = model.blocks[0].attention_norm(model.embedding[ids])
    q, k, _ = model.blocks[0].attention.project(y)
    cos, sin = model._tables(40)
    q, k = fused.rotate(q.transpose(1, 2), cos, sin), fused.rotate(k.transpose(1, 2), cos, sin)
    scores = (q @ k.transpose(2, 3))[0, 0] * CONFIG.head_dim**-0.5
    weights = torch.softmax(scores + torch.full((40, 40), -1e9).triu(1), -1)
    assert weights.diagonal(-1).mean() > 0.8


def test_what_followed_last_time_gets_likelier_before_any_training() -> None:
    ids = repeated(20, 16)

    def seen_again(model: Decoder) -> float:
        with torch.no_grad():
            logp = torch.log_softmax(model.logits(model(ids[:, :-1])), -1)
        return float(logp.gather(2, ids[:, 1:, None])[:, 20:].mean())

    assert seen_again(wired()) > seen_again(Decoder(CONFIG, seed=0)) + 0.5


def test_every_weight_is_finite_and_as_many_as_before() -> None:
    model = wired()
    assert sum(p.numel() for p in model.parameters()) == CONFIG.parameters
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ({"layers": 1}, "two layers"),
        ({"positions": "alibi"}, "plain Llama"),
        ({"kv_heads": 1}, "kv_heads equal to heads"),
        ({"kv_heads": 2}, "kv_heads equal to heads"),
        ({"tied": False}, "tied: true"),
    ],
)
def test_a_shape_that_cannot_be_wired_is_refused(shape: dict[str, Any], why: str) -> None:
    with pytest.raises(RegrowError, match=why):
        wire_induction(Decoder(replace(CONFIG, **shape)), seed=0)
