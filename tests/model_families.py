"""Every family as a tiny model that tests share."""

from __future__ import annotations

from typing import Any

import torch

from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder

VOCABULARY, CONTEXT = 50, 40

_GPT: dict[str, Any] = {
    "positions": "learned", "norm": "layer", "norm_bias": True, "activation": "gelu",
    "attention_bias": True, "mlp_bias": True, "init": "gpt2",
}  # fmt: skip
_NEOX: dict[str, Any] = {
    **_GPT, "positions": "rope", "rope_share": 0.5, "parallel": True, "tied": False, "init": "small"
}  # fmt: skip

SWITCHES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama-gqa": {"kv_heads": 2, "head_dim": 6, "tied": False},
    "gpt2": {**_GPT, "activation": "gelu-tanh"},
    "gpt3": {**_GPT, "local_window": 4},
    "opt": {**_GPT, "activation": "relu", "position_offset": 2, "init": "opt"},
    "opt-350m": {
        **_GPT, "activation": "relu", "position_offset": 2, "norm_place": "post",
        "final_norm": False, "embedding_width": 8,
        "init": "small",  # three products of N(0, 0.006) in a row are too little at width 16
    },
    "bloom": {**_GPT, "positions": "alibi", "embedding_norm": True, "init": "bloom", "heads": 3,
              "kv_heads": 3, "width": 18},
    "palm": {"norm": "layer", "kv_heads": 1, "parallel": True, "shared_norm": True,
             "logit_scale": 0.25, "init": "palm"},
    "glm": {
        **_GPT, "positions": "rope", "activation": "geglu", "norm_place": "post",
        "residual_scale": 2.0, "embedding_norm": True, "final_norm": False,
        "embedding_gradient": 0.1, "init": "deepnorm",
    },
    "neox": _NEOX,
    "gpt-j": {**_NEOX, "attention_bias": False, "shared_norm": True, "head_bias": True},
    "no-positions": {"positions": "none", "norm_bias": True},
    "local-alibi-gqa": {"positions": "alibi", "local_window": 3, "kv_heads": 2},
}  # fmt: skip


def family(name: str, **more: Any) -> ModelConfig:
    """A tiny shape of this family."""
    sizes = {"width": 16, "layers": 2, "heads": 4, "kv_heads": 4, "hidden": 24}
    return ModelConfig(
        **{"vocabulary": VOCABULARY, "context": CONTEXT, **sizes, **SWITCHES[name], **more}
    )


def lively(config: ModelConfig, seed: int = 1) -> Decoder:
    """A model in which no weight is 0 or 1, so that every part matters; in evaluation mode."""
    model = Decoder(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0.7 if p.ndim == 1 else 0.0, 0.3, generator=generator)
    return model.eval()


def tokens(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCABULARY, (rows, length), generator=generator)
