"""A norm folded into the linear maps after it, and a gate into the one after that.

A plain chain of norm, maps and gate keeps seven arrays of a token's size for the backward pass
where four are enough: the rest is a pass away from them. Each part here keeps the least, and
`tests/test_model_folded.py` holds it to the gradients of its plain twin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

#: Bytes in one piece of `together`: what is larger than the heap takes (regrow.memory) is
#: cleared by the system at every use.
PIECE = 31 << 20
#: Bytes of a gate that is kept with its product for the backward pass; of a larger one both are
#: made once again, for a third less memory and some percent more time.
KEPT = 2 << 20


def wide(x: Tensor) -> torch.dtype:
    """The dtype that sums of these numbers are kept in: at least fp32."""
    return torch.promote_types(x.dtype, torch.float32)


def together(like: Tensor, *shapes: Sequence[int]) -> list[Tensor]:
    """Uninitialised arrays of these shapes, side by side in as few pieces of memory as may be.

    For what lives equally long. glibc before 2.38 cannot put an aligned block into a hole of just
    its size, so that many blocks of many lifetimes leave a heap that is a third holes.
    """
    parts: list[Tensor] = []
    sizes = [math.prod(shape) for shape in shapes]
    while len(parts) < len(sizes):
        piece = sizes[len(parts) : len(parts) + 1]
        for size in sizes[len(parts) + 1 :]:
            if (sum(piece) + size) * like.itemsize > PIECE:
                break
            piece.append(size)
        parts += like.new_empty(sum(piece)).split(piece)
    return [part.view(*shape) for part, shape in zip(parts, shapes, strict=True)]


def _unit(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x over its root mean square, and what it was multiplied by; statistics in fp32."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide(x))
    inverse = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_().to(x.dtype)
    return x * inverse, inverse


def _unit_backward(d_unit: Tensor, unit: Tensor, inverse: Tensor) -> Tensor:
    """The gradient of x; overwrites `d_unit`."""
    along = (d_unit * unit).sum(-1, keepdim=True, dtype=wide(unit))
    along = along.div_(-unit.shape[-1]).to(unit.dtype)
    return d_unit.addcmul_(unit, along).mul_(inverse)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        unit, inverse = _unit(x, eps)
        ctx.save_for_backward(unit, inverse, gain)
        return unit * gain

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        unit, inverse, gain = ctx.saved_tensors
        d_gain = (grads[0] * unit).reshape(-1, gain.shape[0]).sum(0, dtype=wide(unit))
        return _unit_backward(grads[0] * gain, unit, inverse), d_gain.to(gain.dtype), None


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """Root-mean-square norm over the last dimension (Zhang & Sennrich 2019); statistics in fp32."""
    y: Tensor = _RMSNorm.apply(x, gain, eps)
    return y


def _folded(unit: Tensor, gain: Tensor, maps: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
    """Rows and maps with the gain in whichever is smaller; in generation that is the rows."""
    if unit.numel() < sum(map(Tensor.numel, maps)):
        return unit * gain, maps
    return unit, [weight * gain for weight in maps]


class _NormedMaps(torch.autograd.Function):
    """The gain goes into the weights, which are smaller than the tokens it would else pass over:
    W (gain * unit) = (W * gain) unit, and its gradient is a sum over weights too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float, *maps: Tensor) -> tuple[Tensor, ...]:
        unit, inverse = _unit(x, eps)
        ctx.save_for_backward(unit, inverse, gain, *maps)
        made = together(x, *((*x.shape[:-1], len(weight)) for weight in maps))
        rows, folded = _folded(unit.reshape(-1, x.shape[-1]), gain, maps)
        for y, weight in zip(made, folded, strict=True):
            torch.mm(rows, weight.t(), out=y.view(-1, len(weight)))
        return tuple(made)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        unit, inverse, gain, *maps = ctx.saved_tensors
        rows = unit.reshape(-1, gain.shape[0])
        flats = [grad.reshape(-1, len(weight)) for grad, weight in zip(grads, maps, strict=True)]
        d_unit = torch.empty_like(rows)
        d_maps: list[Tensor | None] = [None] * len(maps)
        if any(ctx.needs_input_grad[3:]):
            d_gain = torch.zeros(gain.shape, dtype=wide(gain), device=gain.device)
            for number, (flat, weight) in enumerate(zip(flats, maps, strict=True)):
                torch.addmm(d_unit, flat, weight * gain, beta=min(number, 1), out=d_unit)
                d_folded = flat.t() @ rows
                d_gain += (d_folded * weight).sum(0, dtype=d_gain.dtype)
                d_maps[number] = d_folded.mul_(gain)
        else:  # the maps are frozen: what the gain gets is a sum over tokens, without a product
            for number, (flat, weight) in enumerate(zip(flats, maps, strict=True)):
                torch.addmm(d_unit, flat, weight, beta=min(number, 1), out=d_unit)
            d_gain = (d_unit * rows).sum(0, dtype=wide(gain))
            d_unit.mul_(gain)
        d_x = _unit_backward(d_unit, rows, inverse.view(-1, 1)).view_as(unit)
        return d_x, d_gain.to(gain.dtype), None, *d_maps


def normed_maps(x: Tensor, gain: Tensor, eps: float, *maps: Tensor) -> tuple[Tensor, ...]:
    """rms_norm(x) through each of the linear maps, [..., width] to [..., out]."""
    if not torch.is_grad_enabled():
        rows, folded = _folded(_unit(x, eps)[0], gain, maps)
        return tuple(functional.linear(rows, weight) for weight in folded)
    y: tuple[Tensor, ...] = _NormedMaps.apply(x, gain, eps, *maps)
    return y


class _GatedMap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
        opened = functional.silu(gate)
        if gate.numel() * gate.itemsize <= KEPT:
            hidden = opened * up
            ctx.save_for_backward(gate, up, down, opened, hidden)
        else:
            hidden = opened.mul_(up)
            ctx.save_for_backward(gate, up, down)
        return functional.linear(hidden, down)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        gate, up, down, *kept = ctx.saved_tensors
        flat = grads[0].reshape(-1, down.shape[0])
        opened = kept[0] if kept else functional.silu(gate)
        d_hidden = (flat @ down).view_as(gate)
        d_down = None
        if ctx.needs_input_grad[2]:
            hidden = kept[1] if kept else opened * up
            d_down = flat.t() @ hidden.view(-1, down.shape[1])
        d_up = opened * d_hidden if kept else opened.mul_(d_hidden)
        d_gate = torch.ops.aten.silu_backward(d_hidden.mul_(up), gate)
        return d_gate, d_up, d_down


def gated_map(gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """silu(gate) * up through a linear map (SwiGLU, Shazeer 2020)."""
    if not torch.is_grad_enabled():
        return functional.linear(functional.silu(gate).mul_(up), down)
    y: Tensor = _GatedMap.apply(gate, up, down)
    return y
