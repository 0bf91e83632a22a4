"""Decoders as ordinary Hugging Face folders."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from regrow.errors import RegrowError
from regrow.files import read_json, write_atomic, write_json
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.families import FAMILIES
from regrow.model.family import Family, training
from regrow.model.tensors import Names, Own, Stored

OWN = "regrow"  # the model_type of a shape that no class of transformers computes
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
#: Masks and rotary tables, which older versions of transformers saved beside the weights.
_BUFFERS = re.compile(r"(\.(attn|attention)\.(masked_)?bias|rotary_emb\.inv_freq)$")


def family_of(config: ModelConfig) -> Family | None:
    """The first family of transformers that computes this shape."""
    return next((family for family in FAMILIES if family.computes(config)), None)


def names_of(config: ModelConfig, values: Mapping[str, Any] | None = None) -> Names:
    """What the tensors of a folder are called: by its config.json, else as we would save them."""
    family = _family(values) if values else family_of(config)
    return family.names if family else Own()


def hf_config(
    config: ModelConfig, dtype: str, eos: int | list[int] | None = None, pad: int | None = None
) -> dict[str, Any]:
    """The contents of config.json; of model_type regrow where transformers has no such model."""
    if family := family_of(config):
        values = family.write(config)
        if ours := training(config):
            values[OWN] = ours
    else:
        values = {"architectures": ["RegrowDecoder"], "model_type": OWN, **asdict(config)}
    return values | {
        "torch_dtype": dtype, "bos_token_id": None, "eos_token_id": eos, "pad_token_id": pad,
    }  # fmt: skip


def config_from_hf(values: Mapping[str, Any]) -> ModelConfig:
    """Read config.json; raises RegrowError for what this decoder does not compute."""
    try:
        if family := _family(values):
            return replace(family.read(values), **values.get(OWN, {}))
        return ModelConfig(**{n: values[n] for n in ModelConfig.__slots__ if n in values})
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise RegrowError(f"config.json describes no model ({error})") from error


def _family(values: Mapping[str, Any]) -> Family | None:
    """The family of a config.json, None for our own."""
    known = {family.model_type: family for family in FAMILIES}
    kind = str(values.get("model_type"))
    if kind not in known and kind != OWN:
        raise RegrowError(
            f"model_type {kind!r} is none that the decoder computes; "
            f"those are {', '.join(sorted(known))}"
        )
    return known.get(kind)


def save_model(
    model: Decoder,
    folder: Path,
    *,
    eos: int | list[int] | None = None,
    pad: int | None = None,
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Write model.safetensors, config.json and generation_config.json, the weights first.

    `weights` (by parameter name, e.g. `Trainable.masters()`) are saved instead of the model's own.
    At each of the ids `eos` whoever generates with the folder stops.
    """
    from safetensors.torch import save

    weights = weights or {name: p.detach() for name, p in model.named_parameters()}
    tensors = {
        stored.name: _alone(stored.join([weights[part].cpu() for part in stored.parts]))
        for stored in names_of(model.config).layout(model.config, weights)
    }
    dtype = str(weights["embedding"].dtype).removeprefix("torch.")
    write_atomic(folder / _WEIGHTS, save(tensors, {"format": "pt"}))
    write_json(
        folder / "generation_config.json",
        {"do_sample": False, "eos_token_id": eos, "pad_token_id": pad},
    )
    write_json(folder / "config.json", hf_config(model.config, dtype, eos, pad))


def _alone(tensor: Tensor) -> Tensor:
    """The tensor in memory of its own, as safetensors wants it; copied where it has none."""
    tensor = tensor.contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def load_model(folder: Path, dtype: torch.dtype = torch.float32) -> Decoder:
    """Read a folder, one tensor at a time. Raises RegrowError that names a missing, broken or
    foreign file, and the tensor that is missing, left over or of another shape."""
    model, tensors = _open(folder)
    state = {}
    for stored, handle, name in tensors:
        for part, weight in zip(stored.parts, stored.split(handle.get_tensor(name))):
            state[part] = torch.empty(weight.shape, dtype=dtype).copy_(weight)
    model.load_state_dict(state, assign=True)
    return model


def check_model(folder: Path) -> ModelConfig:
    """The shape of the model in a folder, all tensors being there; raises as `load_model` does."""
    model, tensors = _open(folder)
    for _ in tensors:
        pass
    return model.config


def _open(folder: Path) -> tuple[Decoder, Iterator[tuple[Stored, Any, str]]]:
    """A decoder without weights, and the tensors for it: file and name of each."""
    values = read_json(folder / "config.json")
    config = config_from_hf(values)
    with torch.device("meta"):
        model = Decoder(config)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    layout = names_of(config, values).layout(config, shapes)
    return model, _matched(folder, layout, shapes, config.tied)


def _matched(
    folder: Path, layout: list[Stored], shapes: Mapping[str, tuple[int, ...]], tied: bool
) -> Iterator[tuple[Stored, Any, str]]:
    """Each stored tensor with the open file that has it and its name there."""
    files = _files(folder)
    # Folders that hold the bare model lack the first part of the names ("transformer.").
    for stored in layout:
        name = stored.name if stored.name in files else stored.name.partition(".")[2]
        wanted = stored.shape(shapes)
        found = "missing"
        if name in files:
            shape = tuple(files[name].get_slice(name).get_shape())
            found = "" if shape == wanted else f"of shape {shape}"
        if found:
            raise RegrowError(f"{folder}: {stored.name} is {found}, config.json wants {wanted}")
        yield stored, files.pop(name), name
    heads = {"lm_head.weight", "embed_out.weight"} if tied else set()
    left = [name for name in files if name not in heads and not _BUFFERS.search(name)]
    if left:
        raise RegrowError(f"{folder}: {left[0]} is there, config.json describes no such tensor")


def _files(folder: Path) -> dict[str, Any]:
    """The open file of every tensor, by the tensor's name."""
    from safetensors import SafetensorError, safe_open

    index = folder / _INDEX
    shards = read_json(index).get("weight_map", {}).values() if index.exists() else [_WEIGHTS]
    files: dict[str, Any] = {}
    for path in sorted({folder / shard for shard in shards}):
        try:
            handle = safe_open(path, "pt")
        except FileNotFoundError as error:
            raise RegrowError(f"{path} is missing; grow or export the node again") from error
        except (SafetensorError, OSError) as error:
            raise RegrowError(f"{path} is broken ({error}); grow or export it again") from error
        files |= dict.fromkeys(handle.keys(), handle)
    return files
