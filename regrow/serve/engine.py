"""All nodes of a run, loaded when first asked for, generating one step at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from anyio import to_thread

from regrow.generate.sampler import Completion, Sampling, generate
from regrow.serve.speaker import Speaker

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Tokens with their log-probabilities (None for the first of a text) and the likeliest few."""

    tokens: list[str]
    logprobs: list[float | None]
    top: list[dict[str, float] | None]


class Engine:
    """Generates for many clients with one model step in progress at any time.

    The lock is held for a whole batch, and for each step of a stream: a client that reads slowly
    keeps nobody waiting, and a stream that is closed stops before its next step.
    """

    def __init__(self, nodes: Mapping[str, Path]) -> None:
        self.nodes = dict(nodes)
        self._speakers: dict[str, Speaker] = {}
        self._lock = asyncio.Lock()

    @property
    def loaded(self) -> list[str]:
        """The nodes in memory, in the order in which they were asked for."""
        return list(self._speakers)

    async def _alone(self, work: Callable[[], T]) -> T:
        """Do work in a thread, nothing else beside it; a cancelled caller waits for its end."""
        async with self._lock:
            return await to_thread.run_sync(work)

    async def speaker(self, name: str) -> Speaker:
        """The node of this name; KeyError where there is none, RegrowError where it is broken."""
        folder = self.nodes[name]
        if name not in self._speakers:
            await self._alone(lambda: self._load(name, folder))
        return self._speakers[name]

    def _load(self, name: str, folder: Path) -> None:
        if name not in self._speakers:
            self._speakers[name] = Speaker.load(folder, name)

    async def complete(
        self, speaker: Speaker, prompts: Sequence[list[int]], sampling: Sampling, n: int
    ) -> list[list[Completion]]:
        """`n` completions of each prompt."""
        return await self._alone(
            lambda: generate(speaker.model, speaker.tokenizer, prompts, sampling, samples=n)
        )

    async def stream(
        self, speaker: Speaker, prompt: list[int], sampling: Sampling, sample: int
    ) -> AsyncIterator[str | Completion]:
        """The pieces of one completion, and the whole of it last."""
        pieces = speaker.stream(prompt, sampling, sample)

        def following() -> str | Completion:
            try:
                return next(pieces)
            except StopIteration as end:
                whole: Completion = end.value
                return whole

        while True:
            piece = await self._alone(following)
            yield piece
            if isinstance(piece, Completion):
                return

    async def logprobs(self, speaker: Speaker, ids: list[int], start: int, k: int) -> Logprobs:
        """Log-probabilities of ids[start:], each given all before it, and the `k` likeliest."""
        return await self._alone(lambda: _logprobs(speaker, ids, start, k))


@torch.inference_mode()
def _logprobs(speaker: Speaker, ids: list[int], start: int, k: int) -> Logprobs:
    def shown(id_: int) -> str:
        return speaker.tokenizer.decode([id_], specials=True)

    found = Logprobs([shown(id_) for id_ in ids[start:]], [], [])
    if start == 0 and ids:
        found.logprobs.append(None)
        found.top.append(None)
    first = max(start, 1)
    if len(ids) > first:
        hidden = speaker.model(torch.tensor([ids[:-1]]))[0, first - 1 :]
        table = torch.log_softmax(speaker.model.logits(hidden), -1)
        own = table.gather(1, torch.tensor(ids[first:])[:, None]).squeeze(1)
        found.logprobs.extend(own.tolist())
        best = table.topk(k, -1)
        for values, indices in zip(best.values.tolist(), best.indices.tolist()):
            found.top.append({shown(id_): value for id_, value in zip(indices, values)})
    return found
