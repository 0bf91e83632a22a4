"""Tiny policies that learn from their own answers, here or in a process to be killed."""

from __future__ import annotations

import copy
import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from regrow.align.grpo import Grpo, GrpoLoop
from regrow.align.ppo import PpoSettings
from regrow.align.reinforcement import Reinforcement
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
GRPO = GrpoLoop(
    steps=30, prompts=8, samples=8, length=6, minibatches=2, rate=6e-3, warmup=1, kl=0.01,
    checkpoint_every=2,
)  # fmt: skip


@lru_cache
def tiny_tokenizer() -> Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        return train_tokenizer(["good bad tea bread"] * 20, 290, Path(folder))


def tiny(dropout: float = 0.0) -> Decoder:
    vocabulary = tiny_tokenizer().vocabulary
    return Decoder(ModelConfig(vocabulary, 32, 1, 2, 2, 32, 32, dropout=dropout), seed=0)


class Wish(RewardModel):
    """Likes the lower half of the vocabulary: counts its tokens at the end of a row."""

    def forward(self, ids_bt: torch.Tensor, last_b: torch.Tensor) -> torch.Tensor:
        low = (ids_bt >= 9) & (ids_bt < self.config.vocabulary // 2)
        return low.float()[:, -6:].sum(1) - 3.0


def asked(**check: Any) -> list[Conversation]:
    return [
        Conversation((Message("user", word),), family=word, check=dict(check))
        for _ in range(8)
        for word in ("tea", "bad")
    ]


def ppo(loop: RlhfLoop = LOOP, precision: str = "fp32", dropout: float = 0.0, **more: Any) -> Rlhf:
    policy = tiny(dropout)
    more = {"prompts": asked(), "seed": 1, **more}
    reward = more.pop("reward", None) or Wish(copy.deepcopy(policy))
    return Rlhf(policy, reward, tiny_tokenizer(), loop=loop, precision=choose(precision), **more)


def apt_to_end() -> Decoder:
    """A policy that ends an answer with a chance of a sixth at each token, and not of 1 in 290."""
    policy, end = tiny(), tiny_tokenizer().end
    ids = torch.tensor([tiny_tokenizer().chat(asked()[0].messages, answer=True)[0]])
    with torch.no_grad():
        hidden = policy(ids)[0].mean(0)
        policy.embedding[end] = 4 * hidden / hidden.norm() ** 2
    return policy


def says_good(prompts: Sequence[Conversation], answers: Sequence[str]) -> list[float]:
    """How much of some letters is in an answer: something that any answer has a little of."""
    return [sum(c in "good bread" for c in answer) / 6 for answer in answers]


def grpo(loop: GrpoLoop = GRPO, precision: str = "fp32", verify: Any = says_good) -> Grpo:
    return Grpo(
        apt_to_end(), verify, tiny_tokenizer(), asked(), loop, seed=1, precision=choose(precision)
    )


def digest(run: Reinforcement) -> str:
    return hashlib.sha256(run.optimizer.trainable.master.numpy().tobytes()).hexdigest()


KILLED = {
    "ppo": lambda: ppo(replace(LOOP, steps=12, kl=0.05, kl_target=0.1, average=0.9)),
    "grpo": lambda: grpo(replace(GRPO, steps=12)),
}


def run_to_the_end(folder: Path, kind: str) -> None:
    """What a process does that is killed: run, and write the digest of the final weights."""
    torch.set_num_threads(1)
    run = KILLED[kind]()
    run.run(folder)
    (folder / "digest").write_text(digest(run))
