"""The update rules, each over fp32 tensors that it changes in place."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.adamw import adamw

#: Quintic Newton-Schulz coefficients of Muon (Jordan et al. 2024; as torch.optim.Muon).
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
#: Adafactor's least root mean square of a parameter, and of a gradient (Shazeer & Stern 2018).
LEAST_SIZE, LEAST_ROOT = 1e-3, 1e-15


def orthogonalise(matrices_nrc: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """Nearly the orthogonal factor of each of n matrices, by Newton-Schulz in `dtype`."""
    a, b, c = NEWTON_SCHULZ
    x = matrices_nrc.to(dtype)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    norm = torch.linalg.vector_norm(x.float(), dim=(1, 2), keepdim=True)
    x = x / norm.clamp_(min=1e-7).to(dtype)
    for _ in range(steps):
        gram = torch.bmm(x, x.transpose(1, 2))
        update = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, update, x, beta=a)
    return x.transpose(1, 2) if tall else x


def muon(
    weight_nrc: Tensor,
    grad_nrc: Tensor,
    first_nrc: Tensor,
    *,
    rate: float,
    decay: float,
    momentum: float,
    steps: int,
    dtype: torch.dtype,
) -> None:
    """Nesterov momentum made orthogonal, for n matrices of one shape at once.

    In bf16 it equals torch.optim.Muon but for rounding; processors that only emulate bf16 are many
    times slower in it than in fp32. Ours because it works on the flat buffers, and one product for
    all matrices of a shape makes the step 1.14 times as fast as torch's at width 192, 1.05 times at
    384 and about even at 768 (benchmarks/optim.py).
    """
    first_nrc.lerp_(grad_nrc, 1 - momentum)
    update = orthogonalise(grad_nrc.lerp(first_nrc, momentum), steps, dtype)
    stretch = max(1.0, weight_nrc.shape[1] / weight_nrc.shape[2]) ** 0.5
    weight_nrc.mul_(1 - rate * decay).add_(update, alpha=-rate * stretch)


def adam(
    weight: Tensor,
    grad: Tensor,
    first: Tensor,
    second: Tensor,
    *,
    count: int,
    rate: float,
    decay: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """AdamW at its `count`-th step (from 1), by torch's fused kernel: one pass over memory."""
    adamw(
        [weight], [grad], [first], [second], [],
        [torch.tensor(count - 1.0, device=weight.device)],
        fused=True, amsgrad=False, beta1=betas[0], beta2=betas[1], lr=rate, weight_decay=decay,
        eps=eps, maximize=False,
    )  # fmt: skip


def adafactor(
    weight: Tensor,
    grad: Tensor,
    first: Tensor,
    second: Tensor,
    *,
    count: int,
    rate: float,
    decay: float,
    momentum: float,
) -> None:
    """PaLM's Adafactor (section 5) on one parameter at its `count`-th step (from 1).

    Unfactored, the rate relative to the parameter's root mean square, beta2 = 1 - count^-0.8,
    weight decay `decay` * rate^2 (PaLM: 1). As in Adafactor the momentum averages the normalised
    update. Updates are not clipped one by one: PaLM clips the global norm.
    """
    fresh = float(count) ** -0.8
    second.mul_(1 - fresh).addcmul_(grad, grad, value=fresh)
    first.lerp_(grad / second.sqrt().clamp_(min=LEAST_ROOT), 1 - momentum)
    size = weight.square().mean().sqrt_().clamp_(min=LEAST_SIZE)
    weight.mul_(1 - decay * rate**2).addcmul_(first, size, value=-rate)
