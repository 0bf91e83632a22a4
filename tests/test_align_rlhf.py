"""PPO and GRPO as a whole: they learn, hold still under a heavy KL, and resume bit for bit."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rl_tiny import LOOP, asked, digest, grpo, ppo, tiny

from regrow.align.reinforcement import Reinforcement
from regrow.align.rollouts import draw

pytestmark = pytest.mark.usefixtures("one_thread")


def errors_gained(run: Reinforcement) -> float:
    """What the answers of the policy are worth more than those of its start, in standard errors."""
    worth = []
    for model in (run.reference, run.policy):
        drawn = draw(
            model, run.tokenizer, asked()[:2], length=6, temperature=1.0, seed=9, samples=100
        )
        worth.append(run.worth(drawn))
    error = math.sqrt(sum(float(np.var(one)) / len(one) for one in worth))
    return float(worth[1].mean() - worth[0].mean()) / error


def test_ppo_learns_what_the_reward_model_likes(tmp_path: Path) -> None:
    run = ppo()
    assert errors_gained(run) == 0
    lines = run.run(tmp_path)["steps"]
    assert lines[-1]["reward"] > lines[0]["reward"] + 1.5
    assert errors_gained(run) > 8


def test_grpo_learns_what_is_verified(tmp_path: Path) -> None:
    run = grpo()
    run.run(tmp_path)
    assert errors_gained(run) > 6


def test_a_heavy_kl_penalty_holds_it_near_its_reference(tmp_path: Path) -> None:
    free = ppo().run(tmp_path / "free")["steps"][-1]
    held = ppo(replace(LOOP, kl=5.0)).run(tmp_path / "held")["steps"][-1]
    assert held["kl"] < free["kl"] / 4


class Killed(Exception):
    pass


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_where_gains_are_trained_nothing_else_moves(precision: str, tmp_path: Path) -> None:
    run = ppo(replace(LOOP, steps=3, trained="gains"), precision)
    start = tiny().state_dict()
    run.run(tmp_path)
    run.release()
    after = dict(run.policy.named_parameters())
    assert after.keys() == start.keys()
    assert all(weight.dtype == torch.float32 and weight.requires_grad for weight in after.values())
    moved = {name for name, weight in after.items() if not torch.equal(weight, start[name])}
    gains = {"norm.weight", "blocks.0.attention_norm.weight", "blocks.0.mlp_norm.weight"}
    assert {"norm.weight"} <= moved <= gains <= after.keys()


@pytest.mark.parametrize("trained", ["all", "gains"])
def test_a_stopped_run_ends_with_the_same_bits(trained: str, tmp_path: Path) -> None:
    loop = replace(LOOP, steps=7, kl=0.05, kl_target=0.01, average=0.9, trained=trained)
    whole = ppo(loop)
    figures = whole.run(tmp_path / "whole")

    def stop(done: float, total: float, **metrics: object) -> None:
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        ppo(loop).run(tmp_path / "killed", stop)
    again = ppo(loop)
    resumed = again.run(tmp_path / "killed")
    assert resumed == figures
    assert digest(again) == digest(whole)


def test_with_an_average_what_is_left_is_the_average(tmp_path: Path) -> None:
    run = ppo(replace(LOOP, steps=3, average=0.9))
    run.run(tmp_path)
    average = run.optimizer.average
    assert average is not None
    assert digest(run) == hashlib.sha256(average.numpy().tobytes()).hexdigest()
