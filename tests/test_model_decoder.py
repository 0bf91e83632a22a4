"""The decoder: shapes, masks, cache, losses and bad input."""

from __future__ import annotations

import math

import pytest
import torch

from regrow.errors import RegrowError
from regrow.model.cache import Cache
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder

CONFIG = ModelConfig(vocabulary=50, width=16, layers=2, heads=4, kv_heads=2, hidden=24, context=80)


def random_model(config: ModelConfig = CONFIG) -> Decoder:
    """A model whose output projections are not zero, so that every part matters."""
    model = Decoder(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(1.0 if p.ndim == 1 else 0.0, 0.3, generator=generator)
    return model


def ids(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(50, (rows, length), generator=torch.Generator().manual_seed(seed))


def test_parameters_are_counted_as_they_are() -> None:
    for tied in (True, False):
        config = ModelConfig(50, 16, 2, 4, 2, 24, 80, tied=tied)
        assert config.parameters == sum(p.numel() for p in Decoder(config).parameters())


def test_flops_a_token_are_six_for_each_weight_and_causal_attention() -> None:
    # blocks: 2 * (2*16*16 + 2*16*8 + 3*16*24) = 3840; head: 800; attention: 6*2*80*16 = 15360
    assert CONFIG.flops_per_token() == 6 * (3840 + 800) + 15360


@pytest.mark.parametrize(
    "wrong", [{"width": 15}, {"heads": 16}, {"kv_heads": 3}, {"layers": 0}, {"vocabulary": 0}]
)
def test_an_impossible_shape_is_named(wrong: dict[str, int]) -> None:
    with pytest.raises(RegrowError, match=next(iter(wrong))):
        ModelConfig(**{**CONFIG.to_dict(), "head_dim": 0, **wrong})


def test_a_new_model_knows_nothing() -> None:
    loss, n = Decoder(CONFIG).loss(ids(2, 10), ids(2, 10, 1))
    assert n == 20
    assert abs(loss.item() - math.log(50)) < 0.1


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    a, b, c = (Decoder(CONFIG, seed).blocks[1].gate.weight for seed in (3, 3, 4))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_no_token_sees_a_later_one() -> None:
    model = random_model()
    x = ids(1, 70)
    y = x.clone()
    y[0, 66] = (y[0, 66] + 1) % 50
    a, b = model(x), model(y)
    assert torch.equal(a[0, :66], b[0, :66])
    assert not torch.allclose(a[0, 66], b[0, 66])


def test_left_padding_changes_nothing_for_real_tokens() -> None:
    model = random_model()
    x = ids(1, 7)
    padded = torch.cat((torch.full((1, 5), 9), x), 1)
    mask = torch.tensor([[False] * 5 + [True] * 7])
    torch.testing.assert_close(model(padded, mask_bt=mask)[:, 5:], model(x), atol=1e-5, rtol=1e-5)


def test_the_cache_gives_what_whole_rows_give() -> None:
    model = random_model()
    x = ids(3, 20)
    cache = Cache(CONFIG, 3, 20)
    parts = [model(x[:, :12], cache=cache)]
    parts += [model(x[:, i : i + 1], cache=cache) for i in range(12, 20)]
    torch.testing.assert_close(torch.cat(parts, 1), model(x), atol=1e-5, rtol=1e-5)


def test_a_cache_grows_by_pieces_and_keeps_what_it_had() -> None:
    model = random_model()
    x = ids(2, 45)
    cache = Cache(CONFIG, 2, 45)
    parts, rooms = [model(x[:, :3], cache=cache)], [cache.places.shape[1]]
    for i in range(3, 45):
        parts.append(model(x[:, i : i + 1], cache=cache))
        rooms.append(cache.places.shape[1])
    assert sorted(set(rooms)) == [16, 32, 45]
    torch.testing.assert_close(torch.cat(parts, 1), model(x), atol=1e-5, rtol=1e-5)


def test_a_cache_goes_on_in_another_number_format_with_all_it_branches_from() -> None:
    model = random_model().bfloat16()
    x = ids(2, 12)
    root = Cache(CONFIG, 1, 4, torch.bfloat16)
    with torch.no_grad():
        model(x[:1, :4], cache=root)
        middle = root.branch(torch.tensor([0, 0]), 5)
        rest = torch.cat((x[:1, :4].expand(2, 4), x[:, 4:]), 1)
        model(rest[:, 4:9], cache=middle)
        wide = middle.to(torch.float32)
        leaf = wide.branch(torch.tensor([0, 1]), 3)
        assert {one.cache.keys.dtype for one in leaf.trunk.chain} == {torch.float32}
        last = model(rest[:, 9:], cache=leaf)
        assert last.dtype == torch.bfloat16
        whole = model(rest)[:, 9:]
    torch.testing.assert_close(last, whole, atol=0.06, rtol=0.05)


def test_cache_rows_can_be_repeated_and_dropped() -> None:
    model = random_model()
    x = ids(2, 6)
    cache = Cache(CONFIG, 2, 10)
    model(x[:, :5], cache=cache)
    cache.select(torch.tensor([1, 1]))
    hidden = model(x[1:, 5:].expand(2, 1), cache=cache)
    torch.testing.assert_close(hidden[0], model(x)[1, 5:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(hidden[0], hidden[1])


def test_loss_is_taken_on_weighted_targets_only() -> None:
    model = random_model()
    x, y = ids(2, 8), ids(2, 8, 1)
    weights = torch.zeros(2, 8)
    weights[0, 3] = weights[1, 6] = 1
    loss, n = model.loss(x, y, weights)
    logprobs = model.logits(model(x)).log_softmax(-1)
    wanted = -(logprobs[0, 3, y[0, 3]] + logprobs[1, 6, y[1, 6]]) / 2
    assert n == 2
    torch.testing.assert_close(loss, wanted, atol=1e-5, rtol=1e-5)


def test_a_batch_without_answers_has_no_loss_and_no_gradient() -> None:
    model = random_model()
    loss, n = model.loss(ids(1, 4), ids(1, 4), torch.zeros(1, 4))
    loss.backward()
    assert (float(loss.detach()), n) == (0.0, 0)
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_bf16_follows_fp32() -> None:
    model = random_model()
    x, y = ids(4, 40), ids(4, 40, 1)
    exact, _ = model.loss(x, y)
    rough, _ = model.bfloat16().loss(x, y)
    assert rough.dtype == torch.float32
    assert abs(exact.item() - rough.item()) < 0.02 * exact.item()


def test_too_many_tokens_are_refused() -> None:
    with pytest.raises(RegrowError, match="context of 80"):
        random_model()(ids(1, 81))
