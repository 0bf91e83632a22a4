"""Rows read together as documents give what they give one by one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.rows import bins_of, row_states

SHAPES = {
    positions: ModelConfig(
        vocabulary=40, width=16, layers=2, heads=2, kv_heads=2, hidden=24, context=64,
        positions=positions,
    )
    for positions in ("rope", "learned", "alibi")
}  # fmt: skip
LENGTHS = [3, 40, 1, 17, 9, 22, 5, 5]


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 40, (len(LENGTHS), 40), generator=generator), torch.tensor(LENGTHS)


@pytest.mark.parametrize("name", SHAPES)
def test_states_are_those_of_each_row_alone(name: str) -> None:
    model, (ids, lengths) = Decoder(SHAPES[name], seed=1), rows()
    with torch.no_grad():
        states = row_states(model, ids, lengths)
        assert states.shape == (8, 40, 16)
        for n, length in enumerate(LENGTHS):
            alone = model(ids[n : n + 1, :length])[0]
            torch.testing.assert_close(states[n, :length], alone, atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_padded_rows() -> None:
    ids, lengths = rows()
    real = torch.arange(40) < lengths[:, None]
    told = []
    for states_of in (row_states, lambda model, ids, lengths: model(ids)):
        model = Decoder(SHAPES["rope"], seed=1)
        states_of(model, ids, lengths)[real].square().sum().backward()
        told.append([p.grad for p in model.parameters()])
    for packed, padded in zip(*told, strict=True):
        torch.testing.assert_close(packed, padded, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("name", "read"), [("rope", 2 * 51), ("alibi", 8 * 40)])
def test_padding_is_not_read_where_attention_within_documents_is_fused(
    name: str, read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (ids, lengths) = Decoder(SHAPES[name], seed=1), rows()
    seen = []
    forward = Decoder.forward
    monkeypatch.setattr(
        Decoder,
        "forward",
        lambda self, ids, **more: (seen.append(ids), forward(self, ids, **more))[1],
    )
    row_states(model, ids, lengths)
    assert [ids.numel() for ids in seen] == [read]


def test_rows_without_much_padding_stay_as_they_are() -> None:
    model, (ids, _) = Decoder(SHAPES["rope"]), rows()
    assert torch.equal(row_states(model, ids, torch.full((8,), 39)), model(ids))


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(30, 90))
def test_every_row_stands_in_one_bin_and_none_is_overfull(lengths: list[int], room: int) -> None:
    bins = bins_of(lengths, room)
    assert sorted(n for own in bins for n in own) == list(range(len(lengths)))
    filled = [sum(lengths[n] for n in own) for own in bins]
    assert max(filled) <= room and min(filled) > 0
    assert max(filled) - min(filled) <= max(lengths)
