"""Reward models: K-wise loss by hand, where the score is read, and what is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from regrow.align.reward import (
    Ranked,
    RewardModel,
    accuracy,
    load_reward,
    pad_right,
    ranking_loss,
    save_reward,
    score_rows,
)
from regrow.errors import RegrowError
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder

CONFIG = ModelConfig(vocabulary=13, width=8, layers=1, heads=2, kv_heads=2, hidden=16, context=16)


def test_ties_make_no_pair() -> None:
    assert Ranked(((1,), (2,), (3,)), (5.0, 5.0, 2.0)).pairs() == [(0, 2), (1, 2)]


def test_ratings_within_the_margin_are_ties() -> None:
    assert Ranked(((1,), (2,), (3,)), (5.0, 4.0, 2.0), margin=1.0).pairs() == [(0, 2), (1, 2)]


def test_each_prompt_counts_once_however_many_pairs_it_has() -> None:
    rewards = torch.tensor([1.0, 0.0, 2.0, 0.0, 0.0])
    sure = torch.nn.functional.softplus(torch.tensor(-1.0))
    many = torch.nn.functional.softplus(torch.tensor(-2.0))
    got = ranking_loss(rewards, [[(0, 1)], [(2, 3), (2, 4)]])
    assert float(got) == pytest.approx(float((sure + many) / 2))


def test_score_is_read_at_the_last_real_token_whatever_the_padding() -> None:
    model = RewardModel(Decoder(CONFIG, seed=3), seed=1)
    alone, last = pad_right([[4, 5, 6]], pad=0)
    together, places = pad_right([[4, 5, 6], [7, 8, 9, 10, 11]], pad=0)
    assert places.tolist() == [2, 4]
    assert torch.allclose(model(alone, last)[0], model(together, places)[0], atol=1e-6)
    assert score_rows(model, [[7, 8, 9, 10, 11], [4, 5, 6]], 0)[1] == pytest.approx(
        float(model(alone, last)[0]), abs=1e-5
    )


def test_saved_model_scores_the_same_with_its_bias(tmp_path: Path) -> None:
    model = RewardModel(Decoder(CONFIG, seed=3), seed=1)
    model.get_buffer("bias").fill_(0.7)
    save_reward(model, tmp_path)
    again = load_reward(tmp_path)
    assert score_rows(again, [[1, 2, 3]], 0) == pytest.approx(score_rows(model, [[1, 2, 3]], 0))


def test_broken_reward_file_is_named(tmp_path: Path) -> None:
    save_reward(RewardModel(Decoder(CONFIG)), tmp_path)
    (tmp_path / "reward.safetensors").write_bytes(b"rubbish")
    with pytest.raises(RegrowError, match=r"reward\.safetensors"):
        load_reward(tmp_path)


def test_accuracy_counts_pairs_ordered_as_rated() -> None:
    model = RewardModel(Decoder(CONFIG, seed=3), seed=1)
    rows = ((1, 2), (3, 4), (5, 6))
    scores = score_rows(model, rows, 0)
    held = [Ranked(rows, tuple(float(s) for s in scores))]
    assert accuracy(model, held, 0) == (1.0, 3)
    worst = [Ranked(rows, tuple(float(-s) for s in scores))]
    assert accuracy(model, worst, 0) == (0.0, 3)
