"""The optimizer: which rule moves which weights, over flat fp32 masters."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from regrow.errors import RegrowError
from regrow.memory import keep_freed
from regrow.train import rules
from regrow.train.precision import Precision, Trainable, choose
from regrow.train.scaling import LossScale

NAMES = ("muon", "adamw", "adafactor")
DECAYS = ("usual", "blocks", "matrices", "all")
#: Weights that an update works on at once: beyond some 8 MB they leave the cache, and there a
#: product for each of Muon's matrices is quicker (by a tenth at width 768) and holds less memory.
TOGETHER = 1 << 21
_IN_BLOCK = re.compile(r"(^|\.)blocks\.\d+\.")


@dataclass(frozen=True, slots=True)
class OptimSettings:
    """What to update with. The rates are peaks; `step(scale)` multiplies both.

    name: `muon` (Muon on the matrices of the blocks, Adam on embeddings, head and gains), `adamw`
    or `adafactor` (PaLM's) on everything. `rate` and `decay` belong to Muon's matrices, or to
    everything under the others; `adam_rate` to the rest under `muon`; Adafactor decays by
    `decay` * rate^2 and has a second beta of its own.
    decays: what weight decay touches: the matrices of the `blocks` (as OLMo 2), all `matrices` with
    embeddings and head (as GPT-3 in Megatron), or `all` with gains and biases; `usual` is blocks
    under muon, else matrices.
    clip: the largest global gradient norm, 0 for none.
    average: decay of the exponential moving average of the weights, 0 for none. It is at most
    (1 + k) / (10 + k) at step k, so that a short run does not average its random start.
    The defaults are those of research/microworld.md for pretraining a small model.
    """

    name: str = "muon"
    rate: float = 0.02
    adam_rate: float = 4e-3
    momentum: float = 0.95
    newton_schulz_steps: int = 5
    decay: float = 0.05
    decays: str = "usual"
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    clip: float = 0.0
    average: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise RegrowError(f"unknown optimizer {self.name!r}; use muon, adamw or adafactor")
        if self.decays not in DECAYS:
            raise RegrowError(f"unknown decays {self.decays!r}; use {', '.join(DECAYS)}")
        if not 0 <= self.average < 1:
            raise RegrowError(f"average is a decay from 0 to below 1, not {self.average}")


class Optimizer:
    """Updates a `Trainable`. Use it so:

        optimizer = build(model, settings, choose())
        optimizer.zero_grad()
        optimizer.backward(loss)            # once or several times
        norm = optimizer.gradient_norm()    # optional: what a guard looks at
        optimizer.step(scale)               # scale: this step's share of the peak rates

    The state (`tensors`, `count`) restores bit for bit with `load`. In fp16 `loss_scale` is part of
    it, else None.
    """

    def __init__(self, trainable: Trainable, settings: OptimSettings, groups: _Groups) -> None:
        self.trainable, self.settings, self.groups = trainable, settings, groups
        self.count = 0  # steps of these moments
        self.updates = 0  # steps in all
        self.first = torch.zeros_like(trainable.master)  # momentum, or Adam's first moment
        self.second = torch.zeros_like(trainable.master[groups.muon_end :])
        self.average = trainable.master.clone() if settings.average else None
        self.loss_scale = LossScale() if trainable.precision.name == "fp16" else None

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        self.trainable.zero_grad()

    def backward(self, loss: Tensor, weight: float = 1.0) -> None:
        """Add the gradients of `weight` * loss to the fp32 sum."""
        if self.loss_scale is None:
            (loss if weight == 1.0 else loss * weight).backward()
            self.trainable.gather()
        else:  # the weight comes afterwards, in fp32, so that it takes no range from the scale
            scale = self.loss_scale.value
            (loss * scale).backward()
            self.trainable.gather(weight / scale)

    def gradient_norm(self) -> float:
        """The global norm of the gathered gradients, before clipping."""
        return self.trainable.gradients.norm()

    def overflowed(self, norm: float) -> bool:
        """Whether the gradients of this norm are beyond fp16 at the present loss scale."""
        return self.loss_scale is not None and not math.isfinite(norm)

    @torch.no_grad()
    def step(self, scale: float = 1.0, norm: float | None = None) -> None:
        """Clip, update the masters and publish them. `norm` saves computing it twice.

        After an overflow in fp16 nothing moves but the loss scale. Raises RegrowError where that
        falls below its floor.
        """
        clip = self.settings.clip
        if norm is None and (clip > 0 or self.loss_scale is not None):
            norm = self.gradient_norm()
        if self.loss_scale is not None and norm is not None:
            if self.overflowed(norm):
                self.loss_scale.halve(self.count)
                return
            self.loss_scale.grow()
        if norm is not None and norm > clip > 0:
            self.trainable.gradients.scale(clip / norm)
        self.count += 1
        self.updates += 1
        self._muon(scale)
        (self._adafactor if self.settings.name == "adafactor" else self._adam)(scale)
        self.trainable.publish()
        if self.average is not None:
            kept = min(self.settings.average, (1 + self.updates) / (10 + self.updates))
            self.average.lerp_(self.trainable.master, 1 - kept)

    def _muon(self, scale: float) -> None:
        s, t = self.settings, self.trainable
        half = t.precision.dtype == torch.bfloat16  # fp16 has too little range for the products
        for names in self.groups.muon:
            rules.muon(
                t.segment(t.master, names),
                t.gradients.part(*t.span(names)).view(len(names), *t.shapes[names[0]]),
                t.segment(self.first, names),
                rate=s.rate * scale,
                decay=s.decay,
                momentum=s.momentum,
                steps=s.newton_schulz_steps,
                dtype=torch.bfloat16 if half else torch.float32,
            )

    def _adam(self, scale: float) -> None:
        s, t, begin = self.settings, self.trainable, self.groups.muon_end
        middle, end = self.groups.decayed, len(t.master)
        for first, last, decay in ((begin, middle, s.decay), (middle, end, 0.0)):
            for low in range(first, last, TOGETHER):
                high = min(low + TOGETHER, last)
                rules.adam(
                    t.master[low:high],
                    t.gradients.part(low, high),
                    self.first[low:high],
                    self.second[low - begin : high - begin],
                    count=self.count,
                    rate=(s.rate if s.name == "adamw" else s.adam_rate) * scale,
                    decay=decay,
                    betas=s.betas,
                    eps=s.eps,
                )

    def _adafactor(self, scale: float) -> None:
        s, t = self.settings, self.trainable
        for name in t.names:
            rules.adafactor(
                t.view(t.master, name),
                t.gradients.part(*t.span([name])).view(t.shapes[name]),
                t.view(self.first, name),
                t.view(self.second, name),
                count=self.count,
                rate=s.rate * scale,
                decay=s.decay if t.offsets[name] < self.groups.decayed else 0.0,
                momentum=s.betas[0],
            )

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes: masters, moments, average, loss scale.

        Views: save them before the next step.
        """
        tensors = {"master": self.trainable.master, "first": self.first, "second": self.second}
        if self.average is not None:
            tensors["average"] = self.average
        if self.loss_scale is not None:
            tensors["loss_scale"] = self.loss_scale.tensor
        return tensors

    def weights(self) -> dict[str, Tensor]:
        """The fp32 weights by parameter name (views): the average where one is kept."""
        flat = self.trainable.master if self.average is None else self.average
        return {name: self.trainable.view(flat, name) for name in self.trainable.names}

    def alter(self, change: Callable[[dict[str, Tensor]], None]) -> None:
        """Let `change` set weights by name, those of the average as well; publish them."""
        flats = [self.trainable.master, *([] if self.average is None else [self.average])]
        for flat in flats:
            change({name: self.trainable.view(flat, name) for name in self.trainable.names})
        self.trainable.publish()

    def reset(self) -> None:
        """Start the moments anew; weights and their average go on."""
        self.first.zero_()
        self.second.zero_()
        self.count = 0

    def load(self, tensors: Mapping[str, Tensor], count: int, updates: int | None = None) -> None:
        """Restore what `tensors`, `count` and `updates` (None: as `count`, where nothing was ever
        reset) gave, and publish the masters."""
        for name, mine in self.tensors().items():
            if name not in tensors or tensors[name].shape != mine.shape:
                raise RegrowError(
                    f"the optimizer state {name!r} is of another model; start the stage anew"
                )
            mine.copy_(tensors[name])
        self.count, self.updates = count, count if updates is None else updates
        self.trainable.publish()

    def release(self) -> None:
        """Give the model its fp32 weights as plain parameters: the average where one is kept."""
        if self.average is not None:
            self.trainable.master.copy_(self.average)
        self.trainable.release()


@dataclass(frozen=True, slots=True)
class _Groups:
    order: list[str]
    muon: list[list[str]]
    muon_end: int
    decayed: int


def _groups(model: nn.Module, settings: OptimSettings) -> _Groups:
    """Muon's matrices first, equal shapes side by side, then what decays, then the rest."""
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    muon = settings.name == "muon"
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name, p in parameters.items():
        if muon and _IN_BLOCK.search(name) and p.ndim == 2:
            by_shape.setdefault(tuple(p.shape), []).append(name)
    together: list[list[str]] = []
    for names in by_shape.values():
        count = max(1, TOGETHER // parameters[names[0]].numel())
        together += [names[low : low + count] for low in range(0, len(names), count)]
    first = [name for names in together for name in names]
    decays = settings.decays
    if decays == "usual":
        decays = "blocks" if muon else "matrices"

    def spared(name: str) -> bool:
        if decays == "all":
            return False
        return parameters[name].ndim < 2 or (decays == "blocks" and not _IN_BLOCK.search(name))

    rest = [name for name in parameters if name not in set(first)]
    rest.sort(key=lambda name: (spared(name), parameters[name].ndim < 2))
    muon_end = sum(parameters[name].numel() for name in first)
    decayed = muon_end + sum(parameters[name].numel() for name in rest if not spared(name))
    return _Groups([*first, *rest], together, muon_end, decayed)


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
