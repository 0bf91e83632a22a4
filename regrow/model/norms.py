"""The norms: root mean square or layer, with or without a bias."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from regrow.model import folded
from regrow.model.config import ModelConfig


class Norm(nn.Module):
    """RMSNorm (Zhang & Sennrich 2019) or LayerNorm (Ba et al. 2016) over the width."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.rms, self.eps = config.norm == "rms", config.norm_eps
        self.weight = nn.Parameter(torch.ones(config.width))
        self.bias = nn.Parameter(torch.zeros(config.width)) if config.norm_bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension; statistics in fp32."""
        if not self.rms:
            return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)
        y = folded.rms_norm(x, self.weight, self.eps)
        return y if self.bias is None else y + self.bias


def is_product(one: nn.Module) -> bool:
    """Whether a map is a product with its weights and nothing else: no bias, no adapter around."""
    return isinstance(one, nn.Linear) and one.bias is None


def through(norm: Norm | None, x: Tensor, *maps: nn.Linear) -> tuple[Tensor, ...]:
    """The norm's output, or x itself where there is none, through each of the maps."""
    plain = norm is not None and norm.rms and norm.bias is None
    if norm is not None and plain and all(map(is_product, maps)):
        return folded.normed_maps(x, norm.weight, norm.eps, *(one.weight for one in maps))
    y = x if norm is None else norm(x)
    return tuple(one(y) for one in maps)
