"""Dynamic loss scaling for fp16, whose gradients would else vanish below 6e-8.

The loss is multiplied by a scale before the backward pass and the gradients are divided by it in
fp32. An overflow halves the scale and costs the step; a row of clean steps doubles it
(Micikevicius et al. 2018, section 3.2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from regrow.errors import RegrowError

START = 2.0**16
#: Clean steps before the scale doubles, and the scale below which a run has failed (both OPT's:
#: facts of its logbook and code). The ceiling is Megatron's; beyond it nothing is gained.
WINDOW, FLOOR, CEILING = 256, 2.0**-5, 2.0**24


class LossScale:
    """A scale and the clean steps since it last changed, kept as a tensor [2] for checkpoints."""

    def __init__(self, start: float = START, window: int = WINDOW) -> None:
        self.window = window
        self.tensor: Tensor = torch.tensor([start, 0.0], dtype=torch.float64)

    @property
    def value(self) -> float:
        """What the loss is multiplied by: a power of two, so that dividing again is exact."""
        return float(self.tensor[0])

    def grow(self) -> None:
        """Note a clean step."""
        value, clean = self.tensor.tolist()
        if clean + 1 >= self.window:
            value, clean = min(CEILING, value * 2), -1.0
        self.tensor.copy_(torch.tensor([value, clean + 1], dtype=torch.float64))

    def halve(self, step: int) -> None:
        """Note an overflow at a step. Raises RegrowError where the scale would pass the floor."""
        value = self.value / 2
        if value < FLOOR:
            raise RegrowError(
                f"fp16 loss scale fell below {FLOOR:g} at step {step}: gradients overflow at any "
                "scale; lower the learning rate, or train with precision bf16 or fp32"
            )
        self.tensor.copy_(torch.tensor([value, 0.0], dtype=torch.float64))
