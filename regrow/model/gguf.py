"""Llama-shaped folders as GGUF files, which llama.cpp and its kin read, and back.

The layout is that of llama.cpp's `convert_hf_to_gguf.py` (MIT), through its own `gguf` library.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from regrow.errors import RegrowError
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.folder import load_model, save_model
from regrow.model.gguf_tokenizer import read_tokenizer, write_tokenizer
from regrow.model.tensors import Names

PRECISIONS = ("f16", "bf16", "f32")
NAMES = Names(
    {
        "embedding": "token_embd.weight",
        "attention_norm": "blk.{}.attn_norm",
        "attention.q": "blk.{}.attn_q",
        "attention.k": "blk.{}.attn_k",
        "attention.v": "blk.{}.attn_v",
        "attention.out": "blk.{}.attn_output",
        "mlp_norm": "blk.{}.ffn_norm",
        "gate": "blk.{}.ffn_gate",
        "up": "blk.{}.ffn_up",
        "down": "blk.{}.ffn_down",
        "norm": "output_norm",
        "head": "output.weight",
    },
    paired=True,
)
#: Fields of ModelConfig by their keys after "llama."
_KEYS = {
    "width": "embedding_length",
    "hidden": "feed_forward_length",
    "layers": "block_count",
    "heads": "attention.head_count",
    "kv_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "context": "context_length",
    "rope_theta": "rope.freq_base",
    "norm_eps": "attention.layer_norm_rms_epsilon",
}


def write_gguf(folder: Path, target: Path, precision: str = "f16") -> str:
    """Write a Llama-shaped folder as one GGUF file; returns what its reader should know, or "".

    Matrices are f16, bf16 or f32, norms f32. Raises RegrowError for shapes that llama.cpp's llama
    does not compute, and for tokenizers that it does not have.
    """
    gguf = _library()
    if precision not in PRECISIONS:
        raise RegrowError(f"precision is {', '.join(PRECISIONS)}, not {precision!r}")
    kind = {"f16": "F16", "bf16": "BF16", "f32": "F32"}[precision]
    model = load_model(folder)
    config = model.config
    if not config.llama_shaped:
        raise RegrowError(f"{folder.name} is no Llama: GGUF is for RMSNorm, rotary and SwiGLU only")
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_name(folder.resolve().name)
    writer.add_file_type(gguf.LlamaFileType["ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"])
    for field, key in _KEYS.items():
        value = getattr(config, field)
        add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        add(f"llama.{key}", value)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocabulary)
    said = write_tokenizer(writer, folder, config.vocabulary)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    for stored in NAMES.layout(config, weights):
        tensor = stored.join([weights[part] for part in stored.parts]).contiguous().numpy()
        type_ = gguf.GGMLQuantizationType[kind if tensor.ndim > 1 else "F32"]
        writer.add_tensor(stored.name, gguf.quants.quantize(tensor, type_), raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return said


def read_gguf(path: Path, folder: Path) -> None:
    """Write a GGUF file of llama architecture as a folder, dequantised to float32."""
    gguf = _library()
    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, IndexError, OSError) as error:
        raise RegrowError(f"{path} is no GGUF file ({error})") from error
    values = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    config = _config(path, values, "output.weight" not in tensors)
    with torch.device("meta"):
        model = Decoder(config)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    weights: dict[str, Tensor] = {}
    for stored in NAMES.layout(config, shapes):
        found, wanted = tensors.pop(stored.name, None), stored.shape(shapes)
        shape = tuple(int(n) for n in reversed(found.shape)) if found else "missing"
        if shape != wanted:
            raise RegrowError(f"{path}: {stored.name} is {shape}, its metadata want {wanted}")
        dense = torch.tensor(gguf.quants.dequantize(found.data, found.tensor_type))
        weights |= zip(stored.parts, stored.split(dense.reshape(wanted)))
    if tensors:
        raise RegrowError(f"{path}: {next(iter(tensors))} is there, a plain Llama has none")
    ids = read_tokenizer(path, values, folder)
    save_model(model, folder, eos=ids["eos"], pad=ids["pad"], weights=weights)


def _config(path: Path, values: Mapping[str, Any], tied: bool) -> ModelConfig:
    import numpy as np

    kind = values.get("general.architecture")
    scaling = values.get("llama.rope.scaling.type", "none")
    experts = values.get("llama.expert_count", 0)
    if kind != "llama" or scaling != "none" or experts:
        what = f"architecture {kind}, rope scaling {scaling}, {experts} experts"
        raise RegrowError(f"{path} has {what}; only a plain llama is read")
    found: dict[str, Any] = {field: values.get(f"llama.{key}") for field, key in _KEYS.items()}
    found = {field: value for field, value in found.items() if value is not None}
    # Floats are stored in 32 bits: 1e-5 comes back as 9.999999747e-06.
    found = {f: float(str(np.float32(v))) if isinstance(v, float) else v for f, v in found.items()}
    found.setdefault("kv_heads", found.get("heads"))
    try:
        vocabulary = len(values["tokenizer.ggml.tokens"])
        return ModelConfig(vocabulary=vocabulary, tied=tied, **found)
    except (KeyError, TypeError) as error:
        raise RegrowError(f"{path} lacks metadata of a llama: {error}") from error


def _library() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise RegrowError("GGUF needs the gguf library: pip install 'regrow[gguf]'") from error
    return gguf
