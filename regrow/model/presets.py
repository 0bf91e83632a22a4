"""Published models by name: their shapes, and what is known of how they were trained.

Sizes stand in presets.csv, what a family shares in presets.yaml. Left out are models that publish
no vocabulary or shape (Codex, InstructGPT) and those whose choices `ModelConfig` does not have:
Gopher, Chinchilla (Transformer-XL positions), LaMDA (T5 positions), OLMo (norms without gains), and
everything with an encoder (T5, UL2).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

from regrow.errors import RegrowError, nearest
from regrow.model.config import ModelConfig

_RULES = {
    "1/sqrt(width)": lambda shape: shape["width"] ** -0.5,
    "sqrt(2 * layers)": lambda shape: (2 * shape["layers"]) ** 0.5,
}


@dataclass(frozen=True, slots=True)
class Training:
    """What was published of a training run; None or "" where nothing was.

    `rate` is the peak; `batch_tokens` the full batch, reached after `ramp`; `tokens` all that were
    read. Fields that may hold a rule instead of a number hold its words.
    """

    optimizer: str = ""
    rate: float | None = None
    beta1: float | None = None
    beta2: float | str | None = None
    eps: float | None = None
    weight_decay: float | str | None = None
    clip: float | None = None
    warmup: str = ""
    schedule: str = ""
    final_rate: str = ""
    batch_tokens: int | None = None
    ramp: str = ""
    tokens: int | None = None
    z_loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Preset:
    """A published model. `published` is its exact total; parameters whose names end with one of
    `uncounted` are not in it."""

    name: str
    family: str
    config: ModelConfig
    training: Training
    published: int
    uncounted: tuple[str, ...]
    source: str
    note: str


def names() -> list[str]:
    """The names of all presets, family by family."""
    return list(_sizes())


def preset(name: str) -> Preset:
    """Raises RegrowError with the nearest name where there is none of this name."""
    size, family = _found(name)
    said = {**family.get("training", {}), **size, **family["models"].get(name, {})}
    return Preset(
        name=name,
        family=size["family"],
        config=ModelConfig(**shape(name)),
        training=Training(**_only(Training, said)),
        published=size["parameters"],
        uncounted=tuple(family.get("uncounted", ())),
        source=family["source"],
        note=family.get("note", ""),
    )


def shape(name: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The values of `ModelConfig` for a preset with changes, rules worked out for the new sizes.

    As many key-value heads as heads, where the preset has no number of its own. Raises RegrowError
    for an unknown name.
    """
    size, family = _found(name)
    said = {**family["shape"], **size, **family["models"].get(name, {}), **(changes or {})}
    said = _only(ModelConfig, said)
    said.setdefault("kv_heads", said["heads"])
    return {key: _RULES[v](said) if v in _RULES else v for key, v in said.items()}


def _found(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the two files say of a model and of its family."""
    size = _sizes().get(name)
    if size is None:
        raise RegrowError(f"there is no preset {name!r}{nearest(name, names())}")
    return size, _families()[size["family"]]


def _only(kind: Any, said: Mapping[str, Any]) -> dict[str, Any]:
    known = {field.name for field in fields(kind)}
    return {key: value for key, value in said.items() if key in known}


@cache
def _sizes() -> dict[str, dict[str, Any]]:
    text = files("regrow.model").joinpath("presets.csv").read_text(encoding="utf-8")
    kinds = {"name": str, "family": str, "rate": float}
    return {
        row["name"]: {key: kinds.get(key, int)(value) for key, value in row.items() if value}
        for row in csv.DictReader(text.splitlines())
    }


@cache
def _families() -> dict[str, dict[str, Any]]:
    import yaml

    text = files("regrow.model").joinpath("presets.yaml").read_text(encoding="utf-8")
    return {name: {"models": {}, **said} for name, said in yaml.safe_load(text).items()}
