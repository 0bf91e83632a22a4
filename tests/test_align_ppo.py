"""PPO's pieces against hand-computed values, and PPO as a whole learning on a CPU."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from regrow.align import ppo
from regrow.align.likelihood import lay_out, token_log_probabilities


def test_answer_mask_marks_the_targets_that_the_model_wrote() -> None:
    ids, answer = lay_out([[5, 6, 7], [8]], [[1, 2], [3]], pad=0)
    assert ids.tolist() == [[5, 6, 7, 1, 2], [8, 3, 0, 0, 0]]
    assert answer.tolist() == [[0, 0, 1, 1], [1, 0, 0, 0]]


def test_score_lands_on_the_last_answer_token_and_kl_on_every_one() -> None:
    answer = torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    old = torch.tensor([[9.0, -1.0, -2.0, 9.0]])
    reference = torch.tensor([[0.0, -1.5, -1.0, 0.0]])
    rewards = ppo.token_rewards(torch.tensor([3.0]), old, reference, answer, beta=0.1)
    assert torch.allclose(rewards, torch.tensor([[0.0, -0.05, 3.1, 0.0]]))


def test_advantages_match_the_sum_written_out_by_hand() -> None:
    answer = torch.tensor([[1.0, 1.0, 0.0]])
    rewards = torch.tensor([[0.5, 2.0, 0.0]])
    values = torch.tensor([[1.0, 0.4, 0.0]])
    out, returns = ppo.advantages(rewards, values, answer, discount=1.0, trace=0.95)
    last = 2.0 - 0.4
    first = (0.5 + 0.4 - 1.0) + 0.95 * last
    assert torch.allclose(out, torch.tensor([[first, last, 0.0]]))
    assert torch.allclose(returns, torch.tensor([[first + 1.0, 2.0, 0.0]]))


def test_advantages_ignore_the_prompt_before_the_answer() -> None:
    answer = torch.tensor([[0.0, 1.0]])
    out, _ = ppo.advantages(
        torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 0.25]]), answer, 1.0, 0.95
    )
    assert out.tolist() == [[0.0, 0.75]]


def test_whitening_gives_each_kind_of_prompt_its_own_scale() -> None:
    values = torch.tensor([[1.0, 3.0], [100.0, 300.0]])
    out = ppo.whiten(values, torch.ones(2, 2), ["small", "large"])
    assert torch.allclose(out[0], out[1], atol=1e-5)
    assert out[0].sum().abs() < 1e-6


def test_clipped_surrogate_by_hand() -> None:
    old = torch.zeros(1, 2)
    new = torch.tensor([[math.log(1.5), math.log(0.5)]])
    advantage = torch.tensor([[1.0, 1.0]])
    loss, clipped = ppo.policy_loss(new, old, advantage, torch.ones(1, 2), clip=0.2, count=2)
    # ratio 1.5 is held at 1.2; ratio 0.5 is left as it is, because clipping would help it.
    assert float(loss) == pytest.approx(-(1.2 + 0.5) / 2)
    assert clipped == pytest.approx(0.5)


def test_value_loss_takes_the_worse_of_plain_and_clipped() -> None:
    loss = ppo.value_loss(
        torch.tensor([[1.0]]),
        torch.tensor([[0.0]]),
        torch.tensor([[1.0]]),
        torch.ones(1, 1),
        0.2,
        1,
    )
    assert float(loss) == pytest.approx(0.5 * 0.8**2)


def test_adaptive_kl_weight_moves_by_at_most_a_fifth_of_the_share_seen() -> None:
    controller = ppo.KlController(0.1, target=0.02, horizon=1000)
    controller.update(kl=1.0, answers=100)
    assert controller.beta == pytest.approx(0.1 * (1 + 0.2 * 0.1))
    controller.update(kl=0.0, answers=1000)
    assert controller.beta == pytest.approx(0.1 * 1.02 * 0.8)


def test_fixed_kl_weight_stays() -> None:
    controller = ppo.KlController(0.1)
    controller.update(kl=5.0, answers=1000)
    assert controller.beta == 0.1


def test_log_probabilities_are_those_of_a_softmax_at_the_temperature() -> None:
    from regrow.model.config import ModelConfig
    from regrow.model.decoder import Decoder

    config = ModelConfig(
        vocabulary=11, width=8, layers=1, heads=2, kv_heads=2, hidden=16, context=8
    )
    model = Decoder(config, seed=1)
    ids, answer = lay_out([[1, 2], [3]], [[4, 5], [6]], pad=0)
    got = token_log_probabilities(model, ids, answer, 0.7)
    logits = model.logits(model(ids[:, :-1])) / 0.7
    want = torch.log_softmax(logits, -1).gather(2, ids[:, 1:, None]).squeeze(2) * answer
    assert torch.allclose(got, want, atol=1e-6)
    assert np.allclose(got.detach().numpy()[answer.numpy() == 0], 0)
