"""PPO as a whole: it learns a wish, holds still under a heavy KL, and resumes bit for bit."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from regrow.align.ppo import PpoSettings
from regrow.align.reward import RewardModel
from regrow.align.rlhf import Rlhf, RlhfLoop
from regrow.corpus.tokenizer import Tokenizer, train_tokenizer
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.records import Conversation, Message
from regrow.train.precision import choose

LOOP = RlhfLoop(
    steps=35, prompts=16, samples=2, length=6, minibatches=2, rate=3e-3, value_rate=3e-3, warmup=1,
    kl=0.0, checkpoint_every=2, ppo=PpoSettings(pretraining_mix=0.0, no_end_score=None),
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return train_tokenizer(["good bad tea bread"] * 20, 290, tmp_path_factory.mktemp("t"))


class Wish(RewardModel):
    """Likes the lower half of the vocabulary: counts its tokens at the end of a row."""

    def forward(self, ids_bt: torch.Tensor, last_b: torch.Tensor) -> torch.Tensor:
        low = (ids_bt >= 9) & (ids_bt < self.config.vocabulary // 2)
        return low.float()[:, -6:].sum(1) - 3.0


def make(tokenizer: Tokenizer, loop: RlhfLoop) -> Rlhf:
    config = ModelConfig(
        vocabulary=tokenizer.vocabulary, width=32, layers=1, heads=2, kv_heads=2, hidden=32,
        context=32,
    )  # fmt: skip
    policy = Decoder(config, seed=0)
    prompts = [Conversation((Message("user", word),), family=word) for word in ("tea", "bad")] * 8
    reward = Wish(copy.deepcopy(policy))
    return Rlhf(policy, reward, tokenizer, prompts, loop, seed=1, precision=choose("fp32"))


def test_it_learns_what_the_reward_model_likes(tokenizer: Tokenizer, tmp_path: Path) -> None:
    lines = make(tokenizer, LOOP).run(tmp_path)["steps"]
    first = sum(line["reward"] for line in lines[:3]) / 3
    last = sum(line["reward"] for line in lines[-3:]) / 3
    assert last > first + 1.5


def test_a_heavy_kl_penalty_holds_it_near_its_reference(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    free = make(tokenizer, LOOP).run(tmp_path / "free")["steps"][-1]
    held = make(tokenizer, replace(LOOP, kl=5.0)).run(tmp_path / "held")["steps"][-1]
    assert held["kl"] < free["kl"] / 4


def test_before_the_first_update_policy_and_reference_agree(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    rollouts, _, figures = make(tokenizer, LOOP).roll_out(0)
    assert torch.equal(rollouts.log_old, rollouts.log_ref)
    assert figures["kl"] == 0.0


def test_sampler_and_trainer_agree_on_probabilities(tokenizer: Tokenizer) -> None:
    from regrow.generate.sampler import Sampling, generate

    run = make(tokenizer, LOOP)
    ids = tokenizer.chat((Message("user", "tea"),), answer=True)[0]
    sampling = Sampling(max_tokens=6, temperature=1.0, seed=5)
    (answers,) = generate(run.policy, tokenizer, [ids], sampling, samples=3)
    from regrow.align.rollouts import lay_out, token_log_probabilities

    rows, mask = lay_out([ids] * 3, [a.ids for a in answers], tokenizer.pad)
    ours = token_log_probabilities(run.policy, rows, mask, 1.0)
    for n, answer in enumerate(answers):
        start = len(ids) - 1
        got = ours[n, start : start + len(answer.ids)].detach()
        assert torch.allclose(got, torch.tensor(answer.logprobs), atol=1e-5)


def digest(run: Rlhf) -> str:
    return hashlib.sha256(run.optimizer.trainable.master.numpy().tobytes()).hexdigest()


class Killed(Exception):
    pass


def test_a_stopped_run_ends_with_the_same_bits(tokenizer: Tokenizer, tmp_path: Path) -> None:
    loop = replace(LOOP, steps=7, kl=0.05, kl_target=0.01, average=0.9)
    whole = make(tokenizer, loop)
    figures = whole.run(tmp_path / "whole")

    def stop(done: float, total: float, **metrics: object) -> None:
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        make(tokenizer, loop).run(tmp_path / "killed", stop)
    again = make(tokenizer, loop)
    resumed = again.run(tmp_path / "killed")
    assert resumed == figures
    assert digest(again) == digest(whole)
