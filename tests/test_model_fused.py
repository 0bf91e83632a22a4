"""Each hand-written backward pass gives the gradients of its plain twin, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from regrow.model import fused


def noise(*shape: int, seed: int = 0, grad: bool = True) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return x.requires_grad_() if grad else x


def assert_same_gradients(ours: Tensor, plain: Tensor, inputs: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-6)
    upstream = noise(*ours.shape, seed=9, grad=False).to(ours.dtype)
    for mine, theirs in zip(
        torch.autograd.grad(ours, inputs, upstream),
        torch.autograd.grad(plain, inputs, upstream.to(plain.dtype)),
    ):
        torch.testing.assert_close(mine, theirs, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("kept", [0, 1 << 24])
@pytest.mark.parametrize(
    ("b", "t", "heads", "kv"),
    [(2, 7, 4, 2), (2, 64, 2, 2), (3, 130, 4, 4), (2, 193, 4, 1), (1, 1, 2, 1)],
)
def test_causal_attention_matches_scaled_dot_product(
    monkeypatch: pytest.MonkeyPatch, b: int, t: int, heads: int, kv: int, kept: int
) -> None:
    monkeypatch.setattr(fused, "KEPT", kept)
    d = 8
    q, k, v = noise(b, t, heads, d), noise(b, t, kv, d, seed=1), noise(b, t, kv, d, seed=2)
    cos, sin = (table.double() for table in fused.rope_tables(t, d, 1e4))
    turned = [fused.rotate(x.transpose(1, 2), cos, sin) for x in (q, k)]
    shared = [x.repeat_interleave(heads // kv, 1) for x in (turned[1], v.transpose(1, 2))]
    plain = functional.scaled_dot_product_attention(turned[0], *shared, is_causal=True)
    ours = fused.causal_attention(q, k, v, cos, sin)
    assert_same_gradients(ours, plain.transpose(1, 2), (q, k, v))


@pytest.mark.parametrize("sizes", [(150,), (70, 1, 79), (10,) * 15, (64, 64, 22)])
def test_packed_documents_do_not_see_each_other(sizes: tuple[int, ...]) -> None:
    d, t, rows = 8, 150, []
    for n in (0, 2):  # the second row is cut elsewhere
        rows.append(torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)).roll(n))
        rows[-1][:n] = -1
    of = torch.stack(rows)
    q, k, v = noise(2, t, 4, d), noise(2, t, 2, d, seed=1), noise(2, t, 2, d, seed=2)
    cos, sin = (table.double() for table in fused.rope_tables(t, d, 1e4))
    turned = [fused.rotate(x.transpose(1, 2), cos, sin) for x in (q, k)]
    shared = [x.repeat_interleave(2, 1) for x in (turned[1], v.transpose(1, 2))]
    seen = (of[:, :, None] == of[:, None]).tril()[:, None]
    plain = functional.scaled_dot_product_attention(turned[0], *shared, attn_mask=seen)
    ours = fused.causal_attention(q, k, v, cos, sin, fused.apart(of, torch.float64))
    assert_same_gradients(ours, plain.transpose(1, 2), (q, k, v))


def test_rotation_turns_the_first_pair_by_one_radian_a_position() -> None:
    cos, sin = fused.rope_tables(3, 4, 10000.0)
    x = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(3, 4)
    y = fused.rotate(x, cos, sin)
    torch.testing.assert_close(y[2], torch.tensor([-0.4161468, 0.0, 0.9092974, 0.0]))


def test_embedding_gradient_adds_up_repeated_ids() -> None:
    weight = noise(5, 3)
    ids = torch.tensor([[1, 1, 4], [1, 0, 4]])
    assert_same_gradients(fused.embed(weight, ids), weight[ids], (weight,))


def test_embedding_gradient_of_a_frequent_token_is_not_lost_in_bf16() -> None:
    weight = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    fused.embed(weight, torch.zeros(1000, dtype=torch.long)).sum().backward()
    assert weight.grad is not None
    assert weight.grad[0].item() == 1000  # a bf16 running sum of ones stops at 256


@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
@pytest.mark.parametrize("chunk", [4, 1000])
def test_cross_entropy_matches_torch(
    monkeypatch: pytest.MonkeyPatch, z_loss: float, chunk: int
) -> None:
    monkeypatch.setattr(fused, "LOSS_ROWS", chunk)
    hidden, head = noise(11, 6), noise(9, 6, seed=1)
    targets = torch.arange(11) % 9
    weights = torch.linspace(0.2, 2.0, 11, dtype=torch.float64)
    logits = hidden @ head.t()
    each = functional.cross_entropy(logits, targets, reduction="none")
    each = each + z_loss * logits.logsumexp(-1).square()
    plain = (each * weights).sum() / weights.sum()
    ours = fused.cross_entropy(hidden, head, targets, weights, z_loss)
    torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-6)
    mine = torch.autograd.grad(ours, (hidden, head))
    theirs = torch.autograd.grad(plain, (hidden, head))
    for a, b in zip(mine, theirs):
        torch.testing.assert_close(a, b, atol=2e-6, rtol=2e-6)


def test_cross_entropy_of_a_frozen_head_gives_the_same_gradient_below() -> None:
    hidden, targets = noise(6, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    each = []
    for trained in (True, False):
        head = noise(5, 8, seed=1, grad=trained)
        loss = fused.cross_entropy(hidden, head, targets, torch.ones(6))
        each.append(torch.autograd.grad(loss, hidden)[0])
    torch.testing.assert_close(*each, atol=0, rtol=0)


def test_cross_entropy_scales_with_the_gradient_from_above() -> None:
    hidden, head = noise(4, 3), noise(5, 3, seed=1)
    loss = fused.cross_entropy(hidden, head, torch.tensor([0, 1, 2, 3]), torch.ones(4))
    once = torch.autograd.grad(loss, hidden, retain_graph=True)[0]
    thrice = torch.autograd.grad(loss * 3, hidden)[0]
    torch.testing.assert_close(thrice, once * 3)
