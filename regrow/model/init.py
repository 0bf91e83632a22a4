"""How the weights of a decoder start, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from regrow.model.config import ModelConfig

_ENDS = ("embedding", "head", "position_embedding")
_WRITERS = ("out", "down")  # the projections that write to the residual stream

#: The standard deviation of a matrix: its name without the block (`q`, `down`, `embedding` ...),
#: its shape [out, in], and the model's.
Rule = Callable[[str, tuple[int, int], ModelConfig], float]


@torch.no_grad()
def draw_weights(named: Iterable[tuple[str, Tensor]], config: ModelConfig, seed: int) -> None:
    """Set every parameter of a `Decoder` from the seed: gains 1, biases 0, matrices by
    `config.init`. Parameters on the meta device stay as they are."""
    rule, generator = RULES[config.init], None
    for name, weight in named:
        if weight.is_meta:
            continue
        if weight.ndim == 1:
            weight.fill_(1.0 if name.endswith("norm.weight") else 0.0)
            continue
        rows, columns = weight.shape
        std = rule(name.removesuffix(".weight").rpartition(".")[2], (rows, columns), config)
        generator = generator or torch.Generator(weight.device).manual_seed(seed)
        weight.normal_(0.0, std, generator=generator) if std else weight.zero_()


def identity(name: str, shape: tuple[int, int], config: ModelConfig) -> float:
    """N(0, 1/fan-in), embeddings N(0, 0.02); the projections that write to the residual stream
    start at 0, so that every block starts as the identity (research/microworld.md)."""
    if name in _ENDS:
        return 0.02
    return 0.0 if name in _WRITERS else shape[1] ** -0.5


def _normal(std: float, name: str, config: ModelConfig) -> float:
    """One deviation for all, the residual projections divided by sqrt(2 * layers)."""
    return std / (2 * config.layers) ** 0.5 if name in _WRITERS else std


def gpt2(name: str, shape: tuple[int, int], config: ModelConfig) -> float:
    """N(0, 0.02), residual projections over sqrt(2 * layers) (Radford et al. 2019, sec. 2.3)."""
    return _normal(0.02, name, config)


def opt(name: str, shape: tuple[int, int], config: ModelConfig) -> float:
    """N(0, 0.006), output projections over sqrt(2 * layers) (Zhang et al. 2022, sec. 2.1)."""
    return _normal(0.006, name, config)


def bloom(name: str, shape: tuple[int, int], config: ModelConfig) -> float:
    """N(0, 1/(3 * width)), 0.0048 at 176B (the BigScience chronicles; Smith et al. 2022 for
    MT-NLG), residual projections over sqrt(2 * layers) as in Megatron-LM."""
    return _normal((3 * config.width) ** -0.5, name, config)


def palm(name: str, shape: tuple[int, int], config: ModelConfig) -> float:
    """N(0, 1/fan-in), input embeddings N(0, 1); the logits are to be scaled by 1/sqrt(width)
    (Chowdhery et al. 2022, sec. 5.1: `logit_scale`)."""
    return 1.0 if name in _ENDS else shape[1] ** -0.5


def small(name: str, shape: tuple[int, int], config: ModelConfig) -> float:
    """SmallInit, sqrt(2/(5 * width)) (Nguyen & Salazar 2019); residual projections
    2/(layers * sqrt(width)) (Wang & Komatsuzaki 2021), as GPT-NeoX-20B (Black et al. 2022)."""
    if name in _WRITERS:
        return 2 / (config.layers * config.width**0.5)
    return (2 / (5 * config.width)) ** 0.5


def deepnorm(name: str, shape: tuple[int, int], config: ModelConfig) -> float:
    """Xavier normal, with a gain of (2 * layers)^-1/2 on values, output and feed-forward (Wang et
    al. 2022 as GLM-130B uses it: Zeng et al. 2022, sec. 2.2); embeddings N(0, 0.02)."""
    if name in _ENDS:
        return 0.02
    gain = 1.0 if name in ("q", "k") else (2 * config.layers) ** -0.5
    return gain * (2 / sum(shape)) ** 0.5


RULES: dict[str, Rule] = {
    "identity": identity,
    "gpt2": gpt2,
    "opt": opt,
    "bloom": bloom,
    "palm": palm,
    "small": small,
    "deepnorm": deepnorm,
}
