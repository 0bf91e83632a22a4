"""Decoders as ordinary Hugging Face folders (LlamaForCausalLM)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from regrow.errors import RegrowError
from regrow.files import read_json, write_atomic, write_json
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder

_OUTER = {
    "embedding": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head": "lm_head.weight",
}
_BLOCK = {
    "attention_norm.weight": "input_layernorm.weight",
    "attention.q.weight": "self_attn.q_proj.weight",
    "attention.k.weight": "self_attn.k_proj.weight",
    "attention.v.weight": "self_attn.v_proj.weight",
    "attention.out.weight": "self_attn.o_proj.weight",
    "mlp_norm.weight": "post_attention_layernorm.weight",
    "gate.weight": "mlp.gate_proj.weight",
    "up.weight": "mlp.up_proj.weight",
    "down.weight": "mlp.down_proj.weight",
}


def hf_name(name: str) -> str:
    """The name that transformers gives a parameter of `Decoder`."""
    if name in _OUTER:
        return _OUTER[name]
    _, layer, rest = name.split(".", 2)
    return f"model.layers.{layer}.{_BLOCK[rest]}"


def hf_config(
    config: ModelConfig, dtype: str, eos: int | None = None, pad: int | None = None
) -> dict[str, Any]:
    """The contents of config.json."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.context,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tied,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": dtype,
        "bos_token_id": None,
        "eos_token_id": eos,
        "pad_token_id": pad,
    }


def config_from_hf(values: dict[str, Any]) -> ModelConfig:
    """Read config.json; raises RegrowError for what this decoder does not compute."""
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    unsupported = [
        name
        for name, wrong in (
            ("model_type", values.get("model_type") != "llama"),
            ("hidden_act", values.get("hidden_act", "silu") != "silu"),
            ("attention_bias", values.get("attention_bias", False)),
            ("mlp_bias", values.get("mlp_bias", False)),
            ("rope_type", rope.get("rope_type", "default") != "default"),
            (
                "head_dim",
                (values.get("head_dim") or values["hidden_size"] // values["num_attention_heads"])
                * values["num_attention_heads"]
                != values["hidden_size"],
            ),
        )
        if wrong
    ]
    if unsupported:
        raise RegrowError(
            f"this model's {', '.join(unsupported)} is not that of a plain Llama decoder; "
            "import a plain Llama folder"
        )
    return ModelConfig(
        vocabulary=values["vocab_size"],
        width=values["hidden_size"],
        layers=values["num_hidden_layers"],
        heads=values["num_attention_heads"],
        kv_heads=values.get("num_key_value_heads") or values["num_attention_heads"],
        hidden=values["intermediate_size"],
        context=values["max_position_embeddings"],
        rope_theta=float(rope.get("rope_theta") or values.get("rope_theta", 10000.0)),
        norm_eps=values.get("rms_norm_eps", 1e-5),
        tied=values.get("tie_word_embeddings", False),
    )


def save_model(
    model: Decoder,
    folder: Path,
    *,
    eos: int | None = None,
    pad: int | None = None,
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Write model.safetensors, config.json and generation_config.json, the weights first.

    `weights` (by parameter name, e.g. `Trainable.masters()`) are saved instead of the model's own.
    """
    from safetensors.torch import save

    weights = weights or {name: p.detach() for name, p in model.named_parameters()}
    tensors = {hf_name(name): w.cpu().contiguous().clone() for name, w in weights.items()}
    dtype = str(tensors[_OUTER["embedding"]].dtype).removeprefix("torch.")
    write_atomic(folder / "model.safetensors", save(tensors, {"format": "pt"}))
    write_json(
        folder / "generation_config.json",
        {"do_sample": False, "eos_token_id": eos, "pad_token_id": pad},
    )
    write_json(folder / "config.json", hf_config(model.config, dtype, eos, pad))


def load_model(folder: Path, dtype: torch.dtype = torch.float32) -> Decoder:
    """Read a Llama folder. Raises RegrowError that names a missing, broken or foreign file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    model = Decoder(config_from_hf(read_json(folder / "config.json")))
    path = folder / "model.safetensors"
    try:
        tensors = load_file(path)
    except FileNotFoundError as error:
        raise RegrowError(f"{path} is missing; grow or export the node again") from error
    except (SafetensorError, OSError) as error:
        raise RegrowError(f"{path} is broken ({error}); grow or export the node again") from error
    with torch.no_grad():
        for name, weight in model.named_parameters():
            stored = tensors.get(hf_name(name))
            if stored is None or stored.shape != weight.shape:
                found = "missing" if stored is None else f"of shape {tuple(stored.shape)}"
                raise RegrowError(
                    f"{path}: {hf_name(name)} is {found}, config.json wants {tuple(weight.shape)}"
                )
            weight.copy_(stored)
    return model.to(dtype)
