"""Which number format to train in, and the pair of working weights and fp32 masters."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from regrow.errors import RegrowError
from regrow.train.device import CPU, synchronise
from regrow.train.gradients import Gradients

#: Half-precision products must be this many times as fast as fp32's to be worth their rounding.
WORTH_IT = 1.5
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True)
class Precision:
    """A choice of working dtype. `reason` says why; the rates are GFLOP/s of a product."""

    dtype: torch.dtype
    reason: str
    bf16_gflops: float = 0.0
    fp32_gflops: float = 0.0

    @property
    def name(self) -> str:
        """`bf16`, `fp16` or `fp32`."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.dtype)


def gemm_rate(
    dtype: torch.dtype,
    size: int = 512,
    seconds: float = 0.03,
    clock: Callable[[], float] = time.perf_counter,
    device: torch.device = CPU,
) -> float:
    """The best measured GFLOP/s of a size^3 matrix product on a device with the current threads.

    0 where an accelerator does not have the format at all.
    """
    best = float("inf")
    spent = 0.0
    try:
        a = torch.ones(size, size, dtype=dtype, device=device)
        a @ a  # the first product sets up kernels
        synchronise(device)
    except (RuntimeError, TypeError):
        if device.type == "cpu" or dtype == torch.float32:
            raise
        return 0.0
    while spent < seconds or best == float("inf"):
        start = clock()
        a @ a
        synchronise(device)
        took = clock() - start
        best, spent = min(best, took), spent + took
    return 2 * size**3 / best / 1e9


@functools.lru_cache(maxsize=4)
def _measured(device: torch.device, threads: int) -> Precision:
    # fp16 only off the CPU: no CPU known to us has it fast without bf16, and most emulate it.
    names = ("bf16", "fp32") if device.type == "cpu" else ("bf16", "fp16", "fp32")
    size = 512 if device.type == "cpu" else 4096  # a small product would time the launch
    # What is emulated shows in a small product already: a large one takes a quarter of a second.
    rate = {name: gemm_rate(DTYPES[name], size // 4, device=device) for name in names}
    likely = [name for name in names if rate[name] > rate["fp32"] / 4 or name == "fp32"]
    # Alternate, so that a busy machine slows all alike.
    rounds = [
        {name: gemm_rate(DTYPES[name], size, device=device) for name in likely} for _ in range(3)
    ]
    rate |= {name: max(one[name] for one in rounds) for name in likely}
    chosen = next((n for n in names if rate[n] > WORTH_IT * rate["fp32"]), "fp32")
    why = f"{chosen}: half-precision products are not faster here"
    if chosen != "fp32":
        times = rate[chosen] / rate["fp32"]
        why = f"{chosen}: its products run {times:.1f} times as fast as fp32's here"
    half = rate["bf16" if chosen == "fp32" else chosen]
    why += f" ({half:.0f} against {rate['fp32']:.0f} GFLOP/s)"
    return Precision(DTYPES[chosen], why, rate["bf16"], rate["fp32"])


def choose(wanted: str = "auto", device: torch.device = CPU) -> Precision:
    """The precision to train in: `auto` times the products (0.2 s, once a process), or by name.

    Of the formats that are 1.5 times as fast as fp32 on the device bf16 comes before fp16, because
    it needs no loss scaling. A resumed run must pass the name it began with, because a timing may
    fall otherwise next time. Raises RegrowError for an unknown name.
    """
    if wanted in DTYPES:
        return Precision(DTYPES[wanted], f"{wanted}: asked for")
    if wanted != "auto":
        raise RegrowError(f"unknown precision {wanted!r}; use auto, {', '.join(DTYPES)}")
    return _measured(device, torch.get_num_threads())


class Trainable:
    """A model's weights as flat buffers: fp32 masters beside working weights, and gradients.

    After construction every parameter of the model is a view into `working` (dtype of the
    precision); `master` holds the same numbers in fp32. In fp32 `working` is `master`. The cycle:

        trainable.zero_grad(); loss.backward(); trainable.gather(); ...update master...;
        trainable.publish()

    Several backward passes may each be followed by `gather()`: they add up in fp32 (`gradients`).
    `order` fixes the place of the parameters, so that equal shapes lie side by side (`segment`).
    """

    def __init__(
        self, model: nn.Module, precision: Precision, order: Iterable[str] | None = None
    ) -> None:
        found = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.names = list(order) if order is not None else list(found)
        if sorted(self.names) != sorted(found):
            raise ValueError("order must name every trainable parameter once")
        self.model, self.precision = model, precision
        self.shapes = {name: found[name].shape for name in self.names}
        self.offsets: dict[str, int] = {}
        size = 0
        for name in self.names:
            self.offsets[name], size = size, size + found[name].numel()
        device = found[self.names[0]].device
        self.master = torch.empty(size, dtype=torch.float32, device=device)
        for name in self.names:
            self.view(self.master, name).copy_(found[name].detach())
        self.shared = precision.dtype == torch.float32
        self.working = self.master.to(precision.dtype)  # the same memory in fp32
        for name in self.names:
            found[name].data = self.view(self.working, name)
        self._parameters = found
        self.gradients = Gradients({name: found[name] for name in self.names})

    def view(self, flat: Tensor, name: str) -> Tensor:
        """The part of a flat buffer that belongs to a parameter, in its shape."""
        start, shape = self.offsets[name], self.shapes[name]
        return flat[start : start + shape.numel()].view(shape)

    def segment(self, flat: Tensor, names: list[str]) -> Tensor:
        """Neighbouring parameters of one shape as [n, *shape], without a copy."""
        low, high = self.span(names)
        return flat[low:high].view(len(names), *self.shapes[names[0]])

    def span(self, names: list[str]) -> tuple[int, int]:
        """Where neighbouring parameters begin and end in a flat buffer."""
        last = names[-1]
        return self.offsets[names[0]], self.offsets[last] + self.shapes[last].numel()

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        self.gradients.clear()

    def gather(self, weight: float = 1.0) -> None:
        """Add the gradients of the last backward pass, times `weight`, to those before."""
        self.gradients.gather(weight)

    def publish(self) -> None:
        """Round the masters into the working weights."""
        if not self.shared:
            self.working.copy_(self.master)

    def masters(self) -> dict[str, Tensor]:
        """The fp32 weights by parameter name (views: clone before you keep them)."""
        return {name: self.view(self.master, name) for name in self.names}

    def release(self) -> None:
        """Give the model its fp32 masters as plain parameters, without gradients."""
        for name, parameter in self._parameters.items():
            parameter.data = self.view(self.master, name).clone()
            parameter.grad = None
