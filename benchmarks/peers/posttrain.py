"""What every post-training peer shares: the request, the model's shape, the made-up data.

Called as `align_NAME.py REQUEST`; steps are taken in turns as `laps` does. A peer is given token
ids and never a text, so that no tokenizer is timed. Only the standard library, numpy, torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch

PAD, EOS, FIRST = 0, 1, 3  # ids below FIRST never stand in a prompt or an answer


@dataclass(frozen=True)
class Request:
    """One task of one model. `prompts`, `samples` and `answer` size a step; see `data`."""

    task: str
    setting: str
    threads: int
    vocabulary: int = 512
    width: int = 192
    layers: int = 4
    heads: int = 6
    hidden: int = 512
    context: int = 256
    rows: int = 16  # packed rows of a tuning step
    prompts: int = 32  # prompts of a reward, rollout or PPO step
    samples: int = 4  # answers of a prompt
    answer: int = 32  # tokens of an answer that is drawn
    rate: float = 1e-4
    seed: int = 0

    @property
    def compiled(self) -> bool:
        return "compiled" in self.setting

    @property
    def pairs(self) -> int:
        """Comparisons among the answers of a reward step: all that are ranked."""
        return self.prompts * self.samples * (self.samples - 1) // 2


def request() -> Request:
    """Read the request, seed torch and set its threads."""
    wanted = Request(**json.loads(sys.argv[1]))
    torch.set_num_threads(wanted.threads)
    torch.manual_seed(wanted.seed)
    if wanted.compiled:
        import_module("torch._inductor.compile_fx")
    return wanted


class Data:
    """Made-up tokens, the same for every peer: lengths as in the built-in world's talks."""

    def __init__(self, wanted: Request) -> None:
        self.wanted, self.rng = wanted, np.random.default_rng(wanted.seed)

    def ids(self, least: int, most: int) -> list[int]:
        size = self.rng.integers(least, most + 1)
        found: list[int] = self.rng.integers(FIRST, self.wanted.vocabulary, size).tolist()
        return found

    def conversations(self, count: int = 2000) -> list[tuple[list[int], list[int]]]:
        """Prompts of 8 to 40 tokens and their answers of 16 to 80, end-of-text included."""
        return [(self.ids(8, 40), [*self.ids(15, 79), EOS]) for _ in range(count)]

    def ranked(self, steps: int = 8) -> list[tuple[list[int], list[list[int]]]]:
        """Prompts of 24 to 64 tokens with their answers of 8 to 48, the best first."""
        w = self.wanted
        return [
            (self.ids(24, 64), [[*self.ids(7, 47), EOS] for _ in range(w.samples)])
            for _ in range(steps * w.prompts)
        ]

    def prompts(self, steps: int = 8) -> list[list[int]]:
        """Prompts of 8 to 20 tokens to be answered."""
        return [self.ids(8, 20) for _ in range(steps * self.wanted.prompts)]


def likes(answers: Sequence[Sequence[int]]) -> list[float]:
    """The reward of the task `learn`: -2 for an answer without even ids, 2 for one of nothing else.

    The end of an answer and padding count for neither.
    """
    kept = [[token for token in answer if token >= FIRST] for answer in answers]
    return [4 * sum(t % 2 == 0 for t in row) / max(1, len(row)) - 2 for row in kept]


def llama(**more: Any) -> Any:
    """The transformers configuration of the shape."""
    from transformers import LlamaConfig

    w = more.pop("wanted")
    return LlamaConfig(
        vocab_size=w.vocabulary,
        hidden_size=w.width,
        intermediate_size=w.hidden,
        num_hidden_layers=w.layers,
        num_attention_heads=w.heads,
        max_position_embeddings=w.context,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=None,
        **more,
    )


def words(wanted: Request) -> Any:
    """A tokenizer for the trainers that insist on one: id n is the word `n`; it pads on the left,
    as drawing answers needs."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({str(n): n for n in range(wanted.vocabulary)}, "2"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="0", eos_token="1",
                                   padding_side="left")  # fmt: skip
