"""How others store the parameters of a `Decoder`: under which names, joined or turned how."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from regrow.model.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored tensor and the parameters in it: one, or queries, keys and values joined."""

    name: str
    parts: tuple[str, ...]
    transposed: bool = False  # [in, out]
    turns: int = 0  # the rows of the parts follow each other head by head, of so many heads
    paired: int = 0  # rotary channels that turn together are neighbours, in so many heads

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """The stored tensor of these parameters."""
        if self.turns:
            out = torch.cat([p.unflatten(0, (self.turns, -1)) for p in parts], 1).flatten(0, 1)
        else:
            out = torch.cat(list(parts)) if len(parts) > 1 else parts[0]
        if self.paired:
            out = out.unflatten(0, (self.paired, 2, -1)).transpose(1, 2).flatten(0, 2)
        return out.t() if self.transposed and out.ndim == 2 else out

    def split(self, stored: Tensor) -> Sequence[Tensor]:
        """The parameters in a stored tensor."""
        out = stored.t() if self.transposed and stored.ndim == 2 else stored
        if self.paired:
            out = out.unflatten(0, (self.paired, -1, 2)).transpose(1, 2).flatten(0, 2)
        if self.turns:
            by_head = out.unflatten(0, (self.turns, len(self.parts), -1))
            return [part.flatten(0, 1) for part in by_head.unbind(1)]
        return out.chunk(len(self.parts))

    def shape(self, shapes: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
        """The shape of the stored tensor, from those of the parameters."""
        first = shapes[self.parts[0]]
        shape = (sum(shapes[part][0] for part in self.parts), *first[1:])
        return shape[::-1] if self.transposed else shape


@dataclass(frozen=True, slots=True)
class Names:
    """What a family calls our parameters.

    `modules` maps a parameter, or the module it belongs to, to their name; {} is the number of the
    block. Parameters that come to one name are joined in our order: after each other, or by head
    where `turns`. Matrices of blocks are [in, out] where `transposed` (GPT-2's Conv1D). Where
    `paired`, rotary positions turn channels 2i and 2i + 1 of a head together, not i and i + half.
    """

    modules: Mapping[str, str]
    transposed: bool = False
    turns: bool = False
    paired: bool = False

    def of(self, name: str) -> str:
        """Their name of a parameter."""
        found = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
        block, name = found.groups() if found else ("", name)
        if name in self.modules:
            return self.modules[name].format(block)
        module, leaf = name.rsplit(".", 1)
        return f"{self.modules[module].format(block)}.{leaf}"

    def layout(self, config: ModelConfig, parameters: Iterable[str]) -> list[Stored]:
        """The stored tensors of a model with these parameters."""
        joined: dict[str, list[str]] = {}
        for parameter in parameters:
            joined.setdefault(self.of(parameter), []).append(parameter)
        heads = {"q": config.heads, "k": config.kv_heads} if self.paired else {}
        return [
            Stored(
                name,
                tuple(parts),
                self.transposed and parts[0].startswith("blocks."),
                config.heads if self.turns and len(parts) > 1 else 0,
                heads.get(parts[0].split(".")[-2], 0) if "attention." in parts[0] else 0,
            )
            for name, parts in joined.items()
        ]


class Own(Names):
    """Our own names."""

    def __init__(self) -> None:
        super().__init__({})

    def of(self, name: str) -> str:
        """The name itself."""
        return name
