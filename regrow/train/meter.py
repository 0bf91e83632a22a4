"""What part of the machine's matrix rate a training run reaches."""

from __future__ import annotations

from typing import Any

import torch

from regrow.train.precision import Precision, choose


class Meter:
    """Holds a model's FLOPs a token against the products that were timed at the start.

    Where the model tells no FLOPs, or no rate was measured for its number format, there is no
    share.
    """

    def __init__(self, model: Any, precision: Precision, device: torch.device) -> None:
        config = getattr(model, "config", None)
        reckon = getattr(config, "flops_per_token", None)
        self.flops, self.rate = float(reckon()) if reckon else 0.0, 0.0
        if self.flops:  # a format that was asked for, or resumed, has not been timed yet
            timed = precision if precision.fp32_gflops else choose(device=device)
            self.rate = 1e9 * getattr(timed, f"{precision.name}_gflops", 0.0)

    def share(self, tokens_per_s: float) -> dict[str, float]:
        """`matrix_share`, 0 to 1, for a progress call; nothing where it is not known."""
        return {"matrix_share": self.flops * tokens_per_s / self.rate} if self.rate else {}
