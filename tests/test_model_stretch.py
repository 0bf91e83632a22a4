"""A trained decoder at another context length."""

from __future__ import annotations

import pytest
import torch

from regrow.errors import RegrowError
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.stretch import at_context


def model(positions: str) -> Decoder:
    config = ModelConfig(40, 16, 2, 2, 2, 32, 8, positions=positions)  # type: ignore[arg-type]
    return Decoder(config, seed=1).eval()


@pytest.mark.parametrize("positions", ["rope", "alibi", "learned"])
def test_within_the_old_length_a_stretched_model_says_the_same(positions: str) -> None:
    old = model(positions)
    ids = torch.arange(8)[None]
    new = at_context(old, 24, seed=7)
    assert new.config.context == 24
    torch.testing.assert_close(new(ids), old(ids), rtol=0, atol=1e-6)
    with pytest.raises(RegrowError):
        old(torch.zeros(1, 9, dtype=torch.long))
    assert new(torch.zeros(1, 24, dtype=torch.long)).shape == (1, 24, 16)


def test_learned_positions_past_the_old_length_start_anew_from_the_seed() -> None:
    old = model("learned")
    one, again, other = (at_context(old, 12, seed).position_embedding for seed in (3, 3, 4))
    assert one is not None and again is not None and other is not None
    assert torch.equal(one, again)
    assert torch.equal(one[:8], other[:8])
    assert not torch.equal(one[8:], other[8:])


def test_a_shorter_context_drops_the_last_positions() -> None:
    old = model("learned")
    new = at_context(old, 4, seed=0)
    assert new.position_embedding is not None and old.position_embedding is not None
    assert torch.equal(new.position_embedding, old.position_embedding[:4])
