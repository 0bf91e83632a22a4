"""The hot parts of a training step with backward passes of their own.

On a CPU a small model is bound by passes over memory, not by products, so each part here makes as
few as it can. `tests/test_model_fused.py` holds each to the gradients of its plain twin.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from regrow.model.folded import together, wide

#: Queries handled together; a block reads no key after its last query, so smaller blocks skip more
#: of the masked half, larger ones make better products. 64 was the quickest at context 256.
QUERY_BLOCK = 64
#: Bytes of attention weights that a layer keeps for its backward pass; more are made once again.
KEPT = 1 << 24
#: Logits held at once, and the most rows of them. Each chunk adds to the head's whole gradient, so
#: that many small ones cost passes over it.
LOSS_NUMBERS, LOSS_ROWS = 1 << 23, 1024


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


def _rotate_into(out_bhtd: Tensor, x_bhtd: Tensor, cos_td: Tensor, sin_td: Tensor) -> None:
    """`rotate` into memory that is there already."""
    torch.mul(x_bhtd, cos_td, out=out_bhtd)
    out_bhtd.addcmul_(torch.roll(x_bhtd, x_bhtd.shape[-1] // 2, -1), sin_td)


def _unrotate(g_bhtd: Tensor, cos_td: Tensor, sin_td: Tensor) -> Tensor:
    """The transpose of `rotate`: a rotation by the opposite angle."""
    turned = torch.roll(g_bhtd, g_bhtd.shape[-1] // 2, -1)
    return (g_bhtd * cos_td).addcmul_(turned, sin_td, value=-1)


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


#: What `apart` gives: for each block of queries, its first key and the bias on the keys from there.
Seen = list[tuple[int, Tensor]]


def apart(documents_bt: Tensor, dtype: torch.dtype) -> Seen:
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


def _spans(t: int, seen: Seen | None) -> list[tuple[int, int]]:
    """First key and the end of the keys that each block of queries sees."""
    count, n = _query_blocks(t)
    firsts = [first for first, _ in seen] if seen else [0] * count
    return [(first, min(t, (index + 1) * n)) for index, first in enumerate(firsts)]


def _part(scratch_brs: Tensor, keys: int) -> Tensor:
    """The beginning of a scratch buffer as the weights of so many keys."""
    b, rows, _ = scratch_brs.shape
    return scratch_brs.view(-1)[: b * rows * keys].view(b, rows, keys)


def _weigh(p_brs: Tensor, q_brd: Tensor, k_btd: Tensor, index: int, seen: Seen | None) -> None:
    """Fill in the attention weights of the block of queries that has this index."""
    t, keys = k_btd.shape[1], p_brs.shape[2]
    n = _query_blocks(t)[1]
    low, high = index * n, min(t, (index + 1) * n)
    torch.bmm(q_brd, _turned(k_btd, high - keys, high), out=p_brs)
    if seen:
        bias = seen[index][1]
        p_brs.view(len(bias), -1, n, keys).add_(bias)
    else:
        future = q_brd.new_full((n, high - low), float("-inf")).triu_(1)
        p_brs.view(len(p_brs), -1, n, keys).narrow(3, low, high - low).add_(future)
    torch.softmax(p_brs, -1, out=p_brs)


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
        seen: Seen | None,
    ) -> Tensor:
        b, t, h, d = q_bthd.shape
        kv = k_btkd.shape[2]
        count, n = _query_blocks(t)
        rows, scale = h // kv * n, d**-0.5
        spans = _spans(t, seen)
        shapes = [(b, t, h, d), (count, b * kv, rows, d), (b * kv, t, d), (b * kv, t, d)]
        size = q_bthd.itemsize * b * kv * rows * sum(high - first for first, high in spans)
        keep = size <= KEPT and any(ctx.needs_input_grad[:3])
        shapes += [(b * kv, rows, high - first) for first, high in spans if keep]
        mixed_bthd, q, k, v, *weights = together(q_bthd, *shapes)
        scratch = q.new_empty(0 if keep else b * kv, rows, t)
        cos_nd, sin_nd = (_blocks(x[None, :, None] * scale, count, n) for x in (cos_td, sin_td))
        _rotate_into(q.view(count, b, h, n, d), _blocks(q_bthd, count, n), cos_nd, sin_nd)
        _rotate_into(k.view(b, kv, t, d), k_btkd.transpose(1, 2).contiguous(), cos_td, sin_td)
        v.view(b, kv, t, d).copy_(v_btkd.transpose(1, 2))
        mixed = torch.empty_like(q)
        for index, (first, high) in enumerate(spans):
            p = weights[index] if keep else _part(scratch, high - first)
            _weigh(p, q[index], k, index, seen)
            torch.bmm(p, v.narrow(1, first, high - first), out=mixed[index])
        ctx.seen = seen
        ctx.save_for_backward(q, k, v, cos_td, sin_td, cos_nd, sin_nd, *weights)
        return mixed_bthd.copy_(_unblock(mixed.view(count, b, h, n, d), t))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        q, k, v, cos_td, sin_td, cos_nd, sin_nd, *weights = ctx.saved_tensors
        b, t, h, d = grads[0].shape
        count, bk, _, _ = q.shape
        n = cos_nd.shape[3]
        go = _blocks(grads[0], count, n).view_as(q)
        dq = torch.empty_like(q)
        spans = _spans(t, ctx.seen)
        whole = spans[-1][0] == 0  # the last block reaches every key: no zeros needed
        dk, dv = (k, v) if whole else (torch.zeros_like(k), torch.zeros_like(v))
        scratch = q.new_empty(0 if weights else bk, q.shape[2], t)
        blocks = list(zip(q.unbind(), go.unbind(), dq.unbind(), strict=True))
        for index in reversed(range(count)):
            first, high = spans[index]
            keys = high - first
            query, d_mixed, d_query = blocks[index]
            if weights:
                p = weights[index]
            else:
                p = _part(scratch, keys)
                _weigh(p, query, k, index, ctx.seen)
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
    seen: Seen | None = None,
) -> Tensor:
    """Causal attention over whole rows with rotary positions 0..t-1; returns [b, t, h, d].

    `seen` (what `apart` gives) keeps the documents of a row apart.

    Faster than `scaled_dot_product_attention` on CPUs at small heads (twice at head size 32 in
    bf16). Up to `KEPT` bytes of attention weights are kept for the backward pass.
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
        total = torch.zeros(ctx.shape, dtype=wide(grads[0]), device=ids.device)
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
        train, learnt = any(ctx.needs_input_grad[:2]), ctx.needs_input_grad[1]
        total = weights.sum().clamp_(min=1e-20)
        d_hidden = torch.empty_like(hidden) if train else None
        d_head = torch.empty_like(head) if learnt else None
        sums = wide(head)
        d_head_sum = torch.zeros(head.shape if learnt else (), dtype=sums, device=head.device)
        loss = torch.zeros((), dtype=sums, device=head.device)
        rows = max(1, min(LOSS_ROWS, LOSS_NUMBERS // head.shape[0]))
        logits = hidden.new_empty(min(rows, hidden.shape[0]), head.shape[0])
        for low in range(0, hidden.shape[0], rows):
            part = slice(low, low + rows)
            h, target, weight = hidden[part], targets[part, None], weights[part] / total
            p = torch.mm(h, head.t(), out=logits[: len(h)])
            logit = p.gather(1, target).squeeze(1).to(sums)
            torch.softmax(p, -1, out=p)  # in place
            nll = -p.gather(1, target).squeeze(1).to(sums).clamp_(min=1e-37).log_()
            log_z = nll + logit
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
            if d_head is not None:
                d_head_sum += torch.mm(p.t(), (h * scale).to(h.dtype), out=d_head)
        ctx.save_for_backward(d_hidden, d_head.copy_(d_head_sum) if d_head is not None else None)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        d_hidden, d_head = ctx.saved_tensors
        d_head = d_head * grads[0] if d_head is not None else None
        return d_hidden * grads[0], d_head, None, None, None


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
