"""The hot parts of a training step with backward passes of their own.

On a CPU a small model is bound by passes over memory, not by products, so each part here makes as
few as it can. `tests/test_model_fused.py` holds each to the gradients of its plain twin.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

#: Queries handled together; a block reads no key after its last query, so smaller blocks skip more
#: of the masked half, larger ones make better products. 64 was the quickest at context 256.
QUERY_BLOCK = 64
#: Rows of logits held at once.
LOSS_CHUNK = 1024


def rope_tables(
    length: int, head_dim: int, theta: float, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines of rotary positions, each float32 [length, head_dim].

    The sign of rotate-half is in the sines: rotated = x * cos + roll(x, head_dim / 2) * sin
    (Su et al. 2021, in the half-split layout of Llama).
    """
    frequency = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency[None]
    cos, sin = angle.cos(), angle.sin()
    tables = torch.cat((cos, cos), -1).float(), torch.cat((-sin, sin), -1).float()
    return tables[0].to(device), tables[1].to(device)


def rotate(x_bhtd: Tensor, cos_td: Tensor, sin_td: Tensor) -> Tensor:
    """Apply rotary positions; the tables broadcast over batch and heads."""
    return (x_bhtd * cos_td).addcmul_(torch.roll(x_bhtd, x_bhtd.shape[-1] // 2, -1), sin_td)


def _unrotate(g_bhtd: Tensor, cos_td: Tensor, sin_td: Tensor) -> Tensor:
    """The transpose of `rotate`: a rotation by the opposite angle."""
    turned = torch.roll(g_bhtd, g_bhtd.shape[-1] // 2, -1)
    return (g_bhtd * cos_td).addcmul_(turned, sin_td, value=-1)


def _wide(x: Tensor) -> torch.dtype:
    """The dtype that sums of these numbers are kept in: at least fp32."""
    return torch.promote_types(x.dtype, torch.float32)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=_wide(x))
        inverse = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_().to(x.dtype)
        unit = x * inverse
        ctx.save_for_backward(unit, inverse, gain)
        return unit * gain

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        unit, inverse, gain = ctx.saved_tensors
        grad = grads[0]
        d_gain = (grad * unit).reshape(-1, gain.shape[0]).sum(0, dtype=_wide(unit))
        d_unit = grad * gain
        along = (d_unit * unit).sum(-1, keepdim=True, dtype=_wide(unit))
        along = along.div_(-gain.shape[0]).to(unit.dtype)
        return d_unit.addcmul_(unit, along).mul_(inverse), d_gain.to(gain.dtype), None


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """Root-mean-square norm over the last dimension (Zhang & Sennrich 2019); statistics in fp32."""
    y: Tensor = _RMSNorm.apply(x, gain, eps)
    return y


def _blocks(x_bthd: Tensor, count: int, size: int) -> Tensor:
    """[b, t, heads, d] as contiguous query blocks [count, b, heads, size, d], zeros at the end."""
    b, t, h, d = x_bthd.shape
    if t < count * size:
        x_bthd = torch.nn.functional.pad(x_bthd, (0, 0, 0, 0, 0, count * size - t))
    return x_bthd.reshape(b, count, size, h, d).permute(1, 0, 3, 2, 4).contiguous()


def _unblock(x_nbhsd: Tensor, t: int) -> Tensor:
    """The inverse of `_blocks`: [b, t, heads, d]."""
    n, b, h, s, d = x_nbhsd.shape
    return x_nbhsd.permute(1, 0, 3, 2, 4).reshape(b, n * s, h, d)[:, :t]


def _turned(x_btd: Tensor, low: int, high: int) -> Tensor:
    """Keys or values from `low` to before `high`, transposed for a product: [b, d, high - low].

    The copy is made before the transposition, because a batched product would make it after, and
    that takes as long as the product.
    """
    return x_btd.narrow(1, low, high - low).contiguous().transpose(1, 2)


def _query_blocks(t: int) -> tuple[int, int]:
    """How many blocks of queries a row is cut into, and their size; the last may be shorter."""
    count = -(-t // QUERY_BLOCK)
    return count, -(-t // count)


def apart(documents_bt: Tensor, dtype: torch.dtype) -> list[tuple[int, Tensor]]:
    """For each block of queries the first key that one of them sees and the bias on the keys from
    there on, [b, 1, size, keys]: -inf on later tokens and on other documents of the row."""
    b, t = documents_bt.shape
    count, n = _query_blocks(t)
    place = torch.arange(t, device=documents_bt.device)
    blocks = []
    for low in range(0, count * n, n):
        high = min(t, low + n)
        theirs = documents_bt[:, :high]
        first = int((theirs == theirs[:, low, None]).int().argmax(1).min())
        first -= first % 32  # products of bf16 are quicker at round sizes
        theirs = theirs[:, None, first:]
        unseen = documents_bt[:, low:high, None] != theirs
        unseen |= place[first:high] > place[low:high, None]
        bias = torch.zeros((b, 1, n, high - first), dtype=dtype, device=documents_bt.device)
        bias[:, 0, : high - low].masked_fill_(unseen, float("-inf"))
        blocks.append((first, bias))
    return blocks


class _CausalAttention(torch.autograd.Function):
    """Rotation, scores, softmax and values, for full causal rows without padding.

    Queries are laid out in blocks of their own, because a batched product copies strided slices.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q_bthd: Tensor,
        k_btkd: Tensor,
        v_btkd: Tensor,
        cos_td: Tensor,
        sin_td: Tensor,
        seen: list[tuple[int, Tensor]] | None,
    ) -> Tensor:
        b, t, h, d = q_bthd.shape
        kv = k_btkd.shape[2]
        count, n = _query_blocks(t)
        rows, scale = h // kv * n, d**-0.5
        cos_nd, sin_nd = (_blocks(x[None, :, None] * scale, count, n) for x in (cos_td, sin_td))
        q = rotate(_blocks(q_bthd, count, n), cos_nd, sin_nd).view(count, b * kv, rows, d)
        k = rotate(k_btkd.transpose(1, 2).contiguous(), cos_td, sin_td).view(b * kv, t, d)
        v = v_btkd.transpose(1, 2).contiguous().view(b * kv, t, d)
        future = q.new_full((n, n), float("-inf")).triu_(1)
        out = torch.empty_like(q)
        weights = []
        for index, (query, mixed) in enumerate(zip(q.unbind(), out.unbind(), strict=True)):
            low, high = index * n, min(t, (index + 1) * n)
            first = seen[index][0] if seen else 0
            s = torch.bmm(query, _turned(k, first, high))
            if seen:
                s.view(b, h, n, high - first).add_(seen[index][1])
            else:
                s.view(b * kv, -1, n, high).narrow(3, low, high - low).add_(future[:, : high - low])
            p = torch.softmax(s, -1)
            torch.bmm(p, v.narrow(1, first, high - first), out=mixed)
            weights.append(p)
        ctx.save_for_backward(q, k, v, cos_td, sin_td, cos_nd, sin_nd, *weights)
        return _unblock(out.view(count, b, h, n, d), t)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        q, k, v, cos_td, sin_td, cos_nd, sin_nd, *weights = ctx.saved_tensors
        b, t, h, d = grads[0].shape
        count, bk, _, _ = q.shape
        n = cos_nd.shape[3]
        go = _blocks(grads[0], count, n).view_as(q)
        dq = torch.empty_like(q)
        whole = weights[-1].shape[2] == t  # the last block reaches every key: no zeros needed
        dk, dv = (k, v) if whole else (torch.zeros_like(k), torch.zeros_like(v))
        blocks = list(zip(weights, q.unbind(), go.unbind(), dq.unbind(), strict=True))
        for index in reversed(range(count)):
            p, query, d_mixed, d_query = blocks[index]
            high = min(t, (index + 1) * n)
            first, keys = high - p.shape[2], p.shape[2]
            dp = torch.bmm(d_mixed, _turned(v, first, high))
            ds = torch._softmax_backward_data(dp, p, -1, p.dtype)
            torch.bmm(ds, k.narrow(1, first, keys), out=d_query)
            dk_part = torch.bmm(ds.transpose(1, 2), query)
            dv_part = torch.bmm(p.transpose(1, 2), d_mixed)
            if whole and index == count - 1:
                dk, dv = dk_part, dv_part
            else:
                dk.narrow(1, first, keys).add_(dk_part)
                dv.narrow(1, first, keys).add_(dv_part)
        dq = _unblock(_unrotate(dq.view(count, b, h, n, d), cos_nd, sin_nd), t)
        dk = _unrotate(dk.view(b, bk // b, t, d), cos_td, sin_td).transpose(1, 2)
        return dq, dk, dv.view(b, bk // b, t, d).transpose(1, 2), None, None, None


def causal_attention(
    q_bthd: Tensor,
    k_btkd: Tensor,
    v_btkd: Tensor,
    cos_td: Tensor,
    sin_td: Tensor,
    seen: list[tuple[int, Tensor]] | None = None,
) -> Tensor:
    """Causal attention over whole rows with rotary positions 0..t-1; returns [b, t, h, d].

    `seen` (what `apart` gives) keeps the documents of a row apart.

    Faster than `scaled_dot_product_attention` on CPUs at small heads (twice at head size 32 in
    bf16), at the price of keeping the attention weights for the backward pass.
    """
    y: Tensor = _CausalAttention.apply(q_bthd, k_btkd, v_btkd, cos_td, sin_td, seen)
    return y


class _Embedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape, ctx.dtype = weight.shape, weight.dtype
        return weight.index_select(0, ids.reshape(-1)).view(*ids.shape, -1)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        (ids,) = ctx.saved_tensors
        total = torch.zeros(ctx.shape, dtype=_wide(grads[0]), device=ids.device)
        rows = grads[0].reshape(-1, ctx.shape[1]).to(total.dtype)
        return total.index_add_(0, ids.reshape(-1), rows).to(ctx.dtype), None


def embed(weight: Tensor, ids: Tensor) -> Tensor:
    """Embedding look-up whose gradient is summed in fp32, so that frequent tokens lose nothing."""
    y: Tensor = _Embedding.apply(weight, ids)
    return y


class _CrossEntropy(torch.autograd.Function):
    """Loss and both gradients in one pass over chunks of logits, none of them kept."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor, z_loss: float
    ) -> Tensor:
        train = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        total = weights.sum().clamp_(min=1e-20)
        d_hidden = torch.empty_like(hidden) if train else None
        wide = _wide(head)
        d_head = torch.zeros(head.shape, dtype=wide, device=head.device)
        loss = torch.zeros((), dtype=wide, device=head.device)
        for low in range(0, hidden.shape[0], LOSS_CHUNK):
            part = slice(low, low + LOSS_CHUNK)
            h, target, weight = hidden[part], targets[part, None], weights[part] / total
            logits = h @ head.t()
            p = torch.softmax(logits, -1)
            nll = -p.gather(1, target).squeeze(1).to(wide).clamp_(min=1e-37).log_()
            log_z = nll + logits.gather(1, target).squeeze(1).to(wide)
            loss += (weight * (nll + z_loss * log_z.square())).sum()
            if d_hidden is None:
                continue
            # d logits = scale * (p - pull * onehot); the row scale goes on the narrow side.
            scale = weight * (1 + 2 * z_loss * log_z)
            pull = (weight / scale).to(p.dtype)
            at = (torch.arange(len(p), device=p.device), target.squeeze(1))
            p.index_put_(at, p[at] - pull)  # scatter_add_ copies all of p
            scale = scale[:, None]
            d_hidden[part] = (p @ head).mul_(scale)
            d_head += p.t() @ (h * scale).to(h.dtype)
        ctx.save_for_backward(d_hidden, d_head.to(head.dtype) if train else None)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        d_hidden, d_head = ctx.saved_tensors
        return d_hidden * grads[0], d_head * grads[0], None, None, None


def cross_entropy(
    hidden_nd: Tensor, head_vd: Tensor, targets_n: Tensor, weights_n: Tensor, z_loss: float = 0.0
) -> Tensor:
    """The weighted mean of -log p(target) + z_loss * log(Z)^2 (z-loss: PaLM section 5), float32.

    Every weight must be above 0: drop the other rows first. In bf16 each token's loss carries a
    rounding error of about 0.3 % that cancels over a batch.
    """
    if hidden_nd.dtype == torch.float16:  # the gradients made here are not yet scaled: too small
        hidden_nd, head_vd = hidden_nd.float(), head_vd.float()
    loss: Tensor = _CrossEntropy.apply(hidden_nd, head_vd, targets_n, weights_n, z_loss)
    return loss
