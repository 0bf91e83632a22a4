"""How weights start: the standard deviations that the papers give."""

from __future__ import annotations

import math

import pytest
import torch
from model_families import family

from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.init import RULES

WIDTH, HIDDEN, LAYERS = 192, 320, 8

#: Standard deviations of (embedding, query, value, out, up, down).
PUBLISHED = {
    "identity": (0.02, 192**-0.5, 192**-0.5, 0.0, 192**-0.5, 0.0),
    "gpt2": (0.02, 0.02, 0.02, 0.02 / 4, 0.02, 0.02 / 4),
    "opt": (0.006, 0.006, 0.006, 0.006 / 4, 0.006, 0.006 / 4),
    "bloom": (1 / 24, 1 / 24, 1 / 24, 1 / 96, 1 / 24, 1 / 96),
    "palm": (1.0, 192**-0.5, 192**-0.5, 192**-0.5, 192**-0.5, 320**-0.5),
    "small": (480**-0.5, 480**-0.5, 480**-0.5, 0.25 / 192**0.5, 480**-0.5, 0.25 / 192**0.5),
    "deepnorm": (0.02, 192**-0.5, 192**-0.5 / 4, 192**-0.5 / 4, 256**-0.5 / 4, 256**-0.5 / 4),
}


def model(init: str, seed: int = 0) -> Decoder:
    config = ModelConfig(
        300, WIDTH, LAYERS, 4, 4, HIDDEN, 16, norm_bias=True, attention_bias=True, mlp_bias=True,
        head_bias=True, tied=False, init=init,  # type: ignore[arg-type]
    )  # fmt: skip
    return Decoder(config, seed)


def test_every_init_is_checked() -> None:
    assert PUBLISHED.keys() == RULES.keys()


@pytest.mark.parametrize("init", PUBLISHED)
def test_matrices_start_with_the_published_deviation(init: str) -> None:
    drawn = model(init)
    block = drawn.blocks[3]
    matrices = (
        drawn.embedding, block.attention.q.weight, block.attention.v.weight,
        block.attention.out.weight, block.up.weight, block.down.weight,
    )  # fmt: skip
    for matrix, wanted in zip(matrices, PUBLISHED[init]):
        assert matrix.std().item() == pytest.approx(wanted, rel=0.03)
        assert abs(matrix.mean().item()) < 0.02 * wanted + 1e-9
    assert drawn.head.std().item() == pytest.approx(PUBLISHED[init][0], rel=0.03)


@pytest.mark.parametrize("init", PUBLISHED)
def test_gains_start_at_1_and_biases_at_0(init: str) -> None:
    for name, weight in model(init).named_parameters():
        if weight.ndim == 1:
            wanted = 1.0 if name.endswith("norm.weight") else 0.0
            assert (weight == wanted).all(), name


def test_bloom_176b_starts_at_the_number_in_its_launch_script() -> None:
    config = family("bloom", width=14336, heads=112, kv_heads=112)
    assert round(RULES["bloom"]("q", (14336, 14336), config), 4) == 0.0048


def test_palm_starts_with_logits_of_unit_size() -> None:
    config = ModelConfig(
        500, 256, 1, 4, 1, 256, 64, norm="layer", parallel=True, shared_norm=True,
        logit_scale=1 / 16, init="palm",
    )  # fmt: skip
    drawn = Decoder(config)
    with torch.no_grad():
        logits = drawn.logits(drawn(torch.arange(64)[None]))
    assert 0.5 < logits.std().item() < 2.0


def test_equal_seeds_draw_the_same_and_others_do_not() -> None:
    a, b, c = (model("small", seed).blocks[1].up.weight for seed in (3, 3, 4))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_nothing_is_allocated_on_the_meta_device() -> None:
    with torch.device("meta"):
        huge = Decoder(ModelConfig(256000, 18432, 118, 48, 1, 73728, 2048, head_dim=256))
    assert all(p.is_meta for p in huge.parameters())
    assert math.log10(sum(p.numel() for p in huge.parameters())) > 11
