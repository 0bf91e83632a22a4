"""The gradients of one step: as a backward pass left them, or the sum of several in fp32."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn


class Gradients:
    """Gradients of parameters that lie one after the other in a flat order.

    One pass costs no memory beyond what autograd made: its gradients stay in the working dtype,
    and `part` widens as much as an update takes at once. More passes add up in a buffer of fp32.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters = parameters
        ends = torch.tensor([p.numel() for p in parameters.values()]).cumsum(0).tolist()
        self.spans = list(zip([0, *ends], ends))
        self.size = ends[-1]
        self.clear()

    def clear(self) -> None:
        """All gradients are zero from now on."""
        self._each: list[Tensor | None] = [None] * len(self.spans)
        self._total: Tensor | None = None
        self._factor, self._passes = 1.0, 0
        for parameter in self.parameters.values():
            parameter.grad = None

    def gather(self, weight: float = 1.0) -> None:
        """Add what the last backward pass left in the parameters, times `weight`."""
        new = [p.grad for p in self.parameters.values()]
        for parameter in self.parameters.values():
            parameter.grad = None
        self._passes += 1
        if self._passes == 1 and weight == 1.0:
            self._each = new
            return
        if self._total is None:
            self._total = self.part(0, self.size)
            self._each, self._factor = [None] * len(self.spans), 1.0
        for (low, high), grad in zip(self.spans, new):
            if grad is not None:
                self._total[low:high].add_(grad.reshape(-1), alpha=weight)

    def scale(self, factor: float) -> None:
        """Multiply all gradients."""
        if self._total is None:
            self._factor *= factor
        else:
            self._total.mul_(factor)

    def part(self, low: int, high: int) -> Tensor:
        """The gradients of the flat numbers from `low` to before `high`, in fp32."""
        if self._total is not None:
            return self._total[low:high]
        device = next(iter(self.parameters.values())).device
        out = torch.empty(high - low, dtype=torch.float32, device=device)
        for (begin, end), grad in zip(self.spans, self._each):
            first, last = max(begin, low), min(end, high)
            if first < last:
                part = out[first - low : last - low]
                if grad is None:
                    part.zero_()
                else:
                    part.copy_(grad.reshape(-1)[first - begin : last - begin])
        return out if self._factor == 1.0 else out.mul_(self._factor)

    def norm(self, names: Collection[str] | None = None) -> float:
        """The norm of all gradients, or of those of some parameters, summed in fp32."""
        if self._total is not None and names is None:
            found: list[Tensor | None] = [self._total]
        else:
            found = [
                grad if self._total is None else self._total[low:high]
                for name, (low, high), grad in zip(self.parameters, self.spans, self._each)
                if names is None or name in names
            ]
        norms = [
            torch.linalg.vector_norm(grad, dtype=torch.float32)
            for grad in found
            if grad is not None
        ]
        if not norms:
            return 0.0
        return float(torch.linalg.vector_norm(torch.stack(norms))) * self._factor
