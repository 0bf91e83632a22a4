"""Answers drawn from a policy, and the log-probabilities of their tokens.

PPO and GRPO learn from these, and DPO from the same log-probabilities of answers that it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regrow.align.likelihood import trimmed
from regrow.align.rows import asked_ids
from regrow.corpus.tokenizer import Tokenizer
from regrow.generate.sampler import Completion, Sampling, generate
from regrow.model.decoder import Decoder
from regrow.records import Conversation

#: How far the log-probabilities of sampler and trainer may lie apart in the mean over answer
#: tokens, in nats. They sum in another order and, in half precision, round at other places: in bf16
#: 0.025 was measured for SmolLM2-135M (30 layers). fp16 has eight times finer steps.
DRIFT = {"fp32": 1e-5, "fp16": 6e-3, "bf16": 5e-2}


@dataclass(frozen=True, slots=True)
class Drawn:
    """An answer, the prompt that it is to, and the ids of that prompt."""

    prompt: Conversation
    asked: list[int]
    answer: Completion

    @property
    def row(self) -> list[int]:
        """The ids of prompt and answer as they were drawn; text is never encoded again."""
        return [*self.asked, *self.answer.ids]


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Answers of one step, right-padded, with what does not change while they are learnt from.

    ids [n, t + 1]; `answer` [n, t] is 1 where the *target* ids[:, 1:] belongs to the answer;
    `scores` [n]; `log_old` of the policy that drew them and `log_ref` of the reference, [n, t].
    """

    ids: Tensor
    answer: Tensor
    scores: Tensor
    log_old: Tensor
    log_ref: Tensor

    def part(self, rows: Tensor) -> Rollouts:
        """Some of the rows, without the padding that all of them share."""
        ids, answer = trimmed(self.ids, self.answer, rows)
        t = answer.shape[1]
        return Rollouts(
            ids, answer, self.scores[rows], self.log_old[rows, :t], self.log_ref[rows, :t]
        )


def draw(
    policy: Decoder,
    tokenizer: Tokenizer,
    prompts: Sequence[Conversation],
    *,
    length: int,
    temperature: float = 0.0,
    seed: int = 0,
    samples: int = 1,
) -> list[Drawn]:
    """`samples` answers to each prompt, side by side; nothing of the distribution is cut off."""
    stops = (tokenizer.end, tokenizer.eos)
    sampling = Sampling(length, temperature, stop_ids=stops, seed=seed)
    ids = [asked_ids(prompt, tokenizer) for prompt in prompts]
    completions = generate(policy, tokenizer, ids, sampling, samples=samples)
    return [
        Drawn(prompt, asked, answer)
        for prompt, asked, answers in zip(prompts, ids, completions)
        for answer in answers
    ]


def drift(log_trainer: Tensor, answer: Tensor, drawn: Sequence[Drawn]) -> float:
    """The mean distance of the sampler's log-probabilities from the trainer's, in nats a token.

    Both are at temperature 1, which is what the sampler tells whatever it drew at.
    """
    told = torch.from_numpy(np.concatenate([one.answer.logprobs for one in drawn]))
    return float((log_trainer[answer.bool()] - told).abs().mean())
