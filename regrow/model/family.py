"""What a description of one of transformers' architectures says, and how config.json follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from regrow.errors import RegrowError
from regrow.model.config import ModelConfig
from regrow.model.tensors import Names

#: Fields that say how to train. Others do not know them: they travel under a key of their own.
_TRAINING = ("dropout", "embedding_dropout", "init", "embedding_gradient")
_PLAIN = {
    "gelu_new": "gelu-tanh",
    "gelu_fast": "gelu-tanh",
    "gelu_pytorch_tanh": "gelu-tanh",
    "gelu": "gelu",
    "relu": "relu",
}


@dataclass(frozen=True)
class Family:
    """An architecture: what config.json calls our fields, and the names of its tensors.

    `keys` maps a field of ModelConfig to its names there, parted by spaces; all are written, the
    first found is read. `absent` holds what transformers takes where none is there. `fixed` fields
    never vary; `needs` are settings of theirs that must be so for us to compute the same.
    """

    model_type: str
    architecture: str
    keys: Mapping[str, str]
    names: Names
    absent: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, Any] = field(default_factory=dict)
    activations: Mapping[str, str] = field(default_factory=lambda: _PLAIN)
    dropouts: tuple[str, ...] = ()

    def read(self, values: Mapping[str, Any]) -> ModelConfig:
        """The shape that a config.json describes. Raises RegrowError for what we do not compute."""
        rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
        rope_type = rope.get("rope_type") or rope.get("type") or "default"
        values = {**values, **rope, "rope_type": rope_type}
        for key, wanted in {"rope_type": "default", **self.needs}.items():
            value = values.get(key, self.absent.get(key, wanted))
            if value != wanted:
                raise RegrowError(
                    f"this {self.model_type} model has {key} {value!r}; "
                    f"the decoder computes {wanted!r} only"
                )
        found = {name: self._value(name, values) for name in self.keys} | dict(self.fixed)
        found["kv_heads"] = found.get("kv_heads") or found["heads"]
        found["hidden"] = found.get("hidden") or 4 * found["width"]
        found["head_dim"] = found.get("head_dim") or 0
        if found.get("embedding_width") == found["width"]:
            found["embedding_width"] = 0
        if found.get("norm_place") == "post":
            found["final_norm"] = False
        return ModelConfig(**found)

    def write(self, config: ModelConfig) -> dict[str, Any]:
        """The config.json of a shape."""
        values: dict[str, Any] = {
            "architectures": [self.architecture],
            "model_type": self.model_type,
            **self.needs,
            **dict.fromkeys(self.dropouts, config.dropout),
        }
        for name, keys in self.keys.items():
            values |= dict.fromkeys(keys.split(), self._code(name, config))
        if "rope_theta" in self.keys:
            rope = {"rope_type": "default", "rope_theta": config.rope_theta}
            share = {"partial_rotary_factor": config.rope_share}
            values["rope_parameters"] = rope | (share if "rope_share" in self.keys else {})
        return values

    def computes(self, config: ModelConfig) -> bool:
        """Whether this architecture computes a shape: it reads back as it was written."""
        try:
            return self.read(self.write(config)) == plain(config)
        except RegrowError:
            return False

    def _value(self, name: str, values: Mapping[str, Any]) -> Any:
        """A field's value by their keys; null counts as left out."""
        keys = self.keys[name].split()
        value = next((values[key] for key in keys if values.get(key) is not None), None)
        if value is None:
            if name not in self.absent:
                raise RegrowError(f"config.json of a {self.model_type} model lacks {keys[0]}")
            value = self.absent[name]
        if name == "activation":
            if value not in self.activations:
                raise RegrowError(
                    f"this {self.model_type} model has {keys[0]} {value!r}; "
                    f"the decoder computes {', '.join(self.activations)}"
                )
            return self.activations[value]
        return _SAID[name][value] if name in _SAID else value

    def _code(self, name: str, config: ModelConfig) -> Any:
        """Their value of a field."""
        value = getattr(config, name)
        if name == "activation":
            return next((code for code, ours in self.activations.items() if ours == value), None)
        if name == "embedding_width":
            return value or config.width
        return next(c for c, v in _SAID[name].items() if v == value) if name in _SAID else value


#: Fields whose values others put as yes or no.
_SAID: dict[str, dict[Any, Any]] = {
    "norm_place": {True: "pre", False: "post"},
    "final_norm": {True: False, False: True},
}


def plain(config: ModelConfig) -> ModelConfig:
    """The shape without the fields that say how to train."""
    usual: dict[str, Any] = {f.name: f.default for f in fields(config) if f.name in _TRAINING}
    return replace(config, **usual)


def training(config: ModelConfig) -> dict[str, Any]:
    """The fields that say how to train, where they are not as usual."""
    usual = plain(config)
    ours = {name: getattr(config, name) for name in _TRAINING}
    return {name: value for name, value in ours.items() if value != getattr(usual, name)}
