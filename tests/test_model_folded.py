"""Norms folded into maps and recomputed gates give the gradients of their plain twins."""

from __future__ import annotations

import pytest
import torch
from test_model_fused import assert_same_gradients, noise
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from regrow.model import folded


def test_rms_norm_matches_torch() -> None:
    x, gain = noise(3, 5, 8), noise(8, seed=1)
    plain = functional.rms_norm(x, (8,), gain, 1e-5)
    assert_same_gradients(folded.rms_norm(x, gain, 1e-5), plain, (x, gain))


def test_rms_norm_of_three_and_four_is_what_a_hand_computes() -> None:
    # mean square of (3, 4) is 12.5; 3 / sqrt(12.5) = .8485, 4 / sqrt(12.5) = 1.1314
    y = folded.rms_norm(torch.tensor([[3.0, 4.0]]), torch.tensor([1.0, 2.0]), 0.0)
    torch.testing.assert_close(y, torch.tensor([[0.848528, 2.262742]]))


@pytest.mark.parametrize("frozen", [False, True])  # the gains alone are trained
@pytest.mark.parametrize("tokens", [1, 5])  # fewer than channels, and more
def test_a_norm_folded_into_maps_is_the_norm_and_then_the_maps(tokens: int, frozen: bool) -> None:
    x, gain = noise(3, tokens, 8), noise(8, seed=1)
    maps = [noise(n, 8, seed=n, grad=not frozen) for n in (6, 4, 3)]
    y = functional.rms_norm(x, (8,), gain, 1e-5)
    plain = torch.cat([functional.linear(y, one) for one in maps], -1)
    ours = torch.cat(folded.normed_maps(x, gain, 1e-5, *maps), -1)
    assert_same_gradients(ours, plain, (x, gain, *(() if frozen else maps)))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("kept", [0, 1 << 20])
def test_a_gate_and_its_map_are_swiglu(
    kept: int, frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folded, "KEPT", kept)
    gate, up = noise(2, 5, 6), noise(2, 5, 6, seed=1)
    down = noise(4, 6, seed=2, grad=not frozen)
    plain = functional.linear(functional.silu(gate) * up, down)
    inputs = (gate, up) if frozen else (gate, up, down)
    assert_same_gradients(folded.gated_map(gate, up, down), plain, inputs)


def test_what_is_frozen_costs_no_product() -> None:
    def flops(trained: bool) -> int:
        x, gain = noise(16, 8), noise(8, seed=1)
        gate, up = noise(6, 8, seed=2, grad=trained), noise(6, 8, seed=3, grad=trained)
        down = noise(8, 6, seed=4, grad=trained)
        with FlopCounterMode(display=False) as counter:
            folded.gated_map(*folded.normed_maps(x, gain, 1e-5, gate, up), down).sum().backward()
        return int(counter.get_total_flops())

    assert flops(trained=False) * 3 == flops(trained=True) * 2  # forward, inputs; and weights


def test_arrays_side_by_side_do_not_overlap_and_fit_their_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(folded, "PIECE", 10 * 4)  # ten numbers
    parts = folded.together(torch.zeros(1), (2, 3), (4,), (5,), (20,), (1, 1))
    assert [tuple(part.shape) for part in parts] == [(2, 3), (4,), (5,), (20,), (1, 1)]
    for number, part in enumerate(parts):
        part.fill_(number)
    assert [set(part.flatten().tolist()) for part in parts] == [{0.0}, {1.0}, {2.0}, {3.0}, {4.0}]
    pieces = [part.untyped_storage().nbytes() // 4 for part in parts]
    assert pieces == [10, 10, 5, 20, 1]
