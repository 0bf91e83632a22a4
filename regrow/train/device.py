"""Where training runs: on CUDA where it is, else on the CPU; and the few things that differ."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from regrow.errors import RegrowError

#: Says where to train when nothing else does, as `REGROW_DEVICE=cpu regrow run`.
VARIABLE = "REGROW_DEVICE"
CPU = torch.device("cpu")


def pick(wanted: str = "auto") -> torch.device:
    """The device to train on: `auto` takes REGROW_DEVICE, else cuda where it is, else cpu.

    MPS is taken only when asked for: nobody has tried it yet.
    Raises RegrowError for a device that is not one of these or is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    there["cpu"] = True
    name = os.environ.get(VARIABLE, "auto") if wanted == "auto" else wanted
    if name == "auto":
        name = "cuda" if there["cuda"] else "cpu"
    if not there.get(name.partition(":")[0]):
        usable = ", ".join(name for name, found in there.items() if found)
        raise RegrowError(f"there is no device {name!r} here; use auto or {usable}")
    return torch.device(name)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given, so that a clock may be read."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def move(batch: Any, device: torch.device) -> Any:
    """The batch with every tensor in it on the device; lists, tuples and dicts are looked into."""
    if device.type == "cpu":
        return batch
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, tuple | list):
        return type(batch)(move(part, device) for part in batch)
    if isinstance(batch, dict):
        return {key: move(part, device) for key, part in batch.items()}
    return batch


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's generators, of the CPU's and of the device's own, for a checkpoint."""
    state = {"rng": torch.get_rng_state()}
    if device.type != "cpu":
        state["rng_device"] = torch.get_device_module(device).get_rng_state(device)
    return state


def set_random_state(device: torch.device, state: dict[str, Tensor]) -> None:
    """Restore what `random_state` gave; on a device that it did not know, only the CPU's."""
    torch.set_rng_state(state["rng"])
    if device.type != "cpu" and "rng_device" in state:
        torch.get_device_module(device).set_rng_state(state["rng_device"], device)


@contextlib.contextmanager
def fork_random_state(device: torch.device) -> Iterator[None]:
    """A context that leaves the caller's generators as they were."""
    before = random_state(device)
    try:
        yield
    finally:
        set_random_state(device, before)
