"""Muon on block matrices with Adam on the rest, or AdamW alone, over flat fp32 masters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from regrow.errors import RegrowError
from regrow.train.memory import keep_freed
from regrow.train.precision import Precision, Trainable, choose

#: Quintic Newton-Schulz coefficients of Muon (Jordan et al. 2024; as torch.optim.Muon).
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_IN_BLOCK = re.compile(r"(^|\.)blocks\.\d+\.")


@dataclass(frozen=True, slots=True)
class OptimSettings:
    """What to update with. The rates are peaks; `step(scale)` multiplies both.

    name: `muon` (Muon on the matrices of the blocks, Adam without decay on embeddings, head and
    gains) or `adamw` (all by Adam, decay on everything with two dimensions). `rate` and `decay`
    belong to Muon's matrices, or to everything under `adamw`; `adam_rate` to the rest under `muon`.
    clip: the largest global gradient norm, 0 for none.
    The defaults are those of research/microworld.md for pretraining a small model.
    """

    name: str = "muon"
    rate: float = 0.02
    adam_rate: float = 4e-3
    momentum: float = 0.95
    newton_schulz_steps: int = 5
    decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    clip: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in ("muon", "adamw"):
            raise RegrowError(f"unknown optimizer {self.name!r}; use muon or adamw")


def orthogonalise(matrices_nrc: Tensor, steps: int = 5) -> Tensor:
    """Nearly the orthogonal factor of each of n matrices, by Newton-Schulz in bf16."""
    a, b, c = NEWTON_SCHULZ
    x = matrices_nrc.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = (
        x
        / torch.linalg.vector_norm(x.float(), dim=(1, 2), keepdim=True).clamp_(min=1e-7).bfloat16()
    )
    for _ in range(steps):
        gram = torch.bmm(x, x.transpose(1, 2))
        update = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, update, x, beta=a)
    return x.transpose(1, 2) if tall else x


class Optimizer:
    """Updates a `Trainable`. Use it so:

        optimizer = build(model, settings, choose())
        optimizer.trainable.zero_grad()
        loss.backward(); optimizer.trainable.gather()   # once or several times
        norm = optimizer.gradient_norm()                # optional: what a guard looks at
        optimizer.step(scale)                           # scale: this step's share of the peak rates

    The state (`tensors`, `count`) restores bit for bit with `load`.
    """

    def __init__(self, trainable: Trainable, settings: OptimSettings, groups: _Groups) -> None:
        self.trainable, self.settings, self.groups = trainable, settings, groups
        self.count = 0
        self.first = torch.zeros_like(trainable.master)  # momentum, or Adam's first moment
        self.second = torch.zeros_like(trainable.master[groups.muon_end :])

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        self.trainable.zero_grad()

    def gradient_norm(self) -> float:
        """The global norm of the gathered gradients, before clipping."""
        return float(torch.linalg.vector_norm(self.trainable.grad))

    @torch.no_grad()
    def step(self, scale: float = 1.0, norm: float | None = None) -> None:
        """Clip, update the masters and publish them. `norm` saves computing it twice."""
        clip = self.settings.clip
        if clip > 0:
            norm = self.gradient_norm() if norm is None else norm
            if norm > clip:
                self.trainable.grad.mul_(clip / norm)
        self.count += 1
        self._muon(scale)
        self._adam(scale)
        self.trainable.publish()

    def _muon(self, scale: float) -> None:
        s, t = self.settings, self.trainable
        rate = s.rate * scale
        for names in self.groups.muon:
            weight, grad = t.segment(t.master, names), t.segment(t.grad, names)
            buffer = t.segment(self.first, names)
            buffer.lerp_(grad, 1 - s.momentum)
            update = orthogonalise(grad.lerp(buffer, s.momentum), s.newton_schulz_steps)
            stretch = max(1.0, weight.shape[1] / weight.shape[2]) ** 0.5
            weight.mul_(1 - rate * s.decay).add_(update, alpha=-rate * stretch)

    def _adam(self, scale: float) -> None:
        s, begin = self.settings, self.groups.muon_end
        master, grad = self.trainable.master[begin:], self.trainable.grad[begin:]
        first, second = self.first[begin:], self.second
        rate = (s.rate if s.name == "adamw" else s.adam_rate) * scale
        beta1, beta2 = s.betas
        if s.name == "adamw" and s.decay:
            master[: self.groups.decayed - begin].mul_(1 - rate * s.decay)
        first.lerp_(grad, 1 - beta1)
        second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        root = second.sqrt().div_((1 - beta2**self.count) ** 0.5).add_(s.eps)
        master.addcdiv_(first, root, value=-rate / (1 - beta1**self.count))

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes: masters and moments. Views: save them before the next step."""
        return {"master": self.trainable.master, "first": self.first, "second": self.second}

    def load(self, tensors: Mapping[str, Tensor], count: int) -> None:
        """Restore what `tensors` and `count` gave, and publish the masters."""
        for name, mine in self.tensors().items():
            if name not in tensors or tensors[name].shape != mine.shape:
                raise RegrowError(
                    f"the optimizer state {name!r} is of another model; start the stage anew"
                )
            mine.copy_(tensors[name])
        self.count = count
        self.trainable.publish()

    def carry(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the moments of a parent's optimizer, not its weights or step count."""
        self.load({**tensors, "master": self.trainable.master}, self.count)


@dataclass(frozen=True, slots=True)
class _Groups:
    order: list[str]
    muon: list[list[str]]
    muon_end: int
    decayed: int


def _groups(model: nn.Module, settings: OptimSettings) -> _Groups:
    """Muon's matrices first, equal shapes side by side, then what decays, then the rest."""
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name, p in parameters.items():
        if settings.name == "muon" and _IN_BLOCK.search(name) and p.ndim == 2:
            by_shape.setdefault(tuple(p.shape), []).append(name)
    muon = list(by_shape.values())
    first = [name for names in muon for name in names]
    rest = [name for name in parameters if name not in set(first)]
    matrices = [name for name in rest if parameters[name].ndim >= 2]
    vectors = [name for name in rest if parameters[name].ndim < 2]
    muon_end = sum(parameters[name].numel() for name in first)
    decayed = muon_end + sum(parameters[name].numel() for name in matrices)
    return _Groups([*first, *matrices, *vectors], muon, muon_end, decayed)


def build(
    model: nn.Module, settings: OptimSettings, precision: Precision | None = None
) -> Optimizer:
    """An optimizer for the trainable parameters of a model, which it moves to flat buffers.

    `precision` defaults to `choose()`. Under `muon` every matrix within a `blocks` list
    goes to Muon, also where the decoder sits inside another module.
    """
    keep_freed()
    groups = _groups(model, settings)
    return Optimizer(Trainable(model, precision or choose(), groups.order), settings, groups)
