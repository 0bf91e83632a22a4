"""A policy that learns from its own answers: the loop that PPO and GRPO share.

It is resumable at any step, bit for bit. Everything random is drawn from (seed, step), and a
checkpoint holds the optimizers, the KL weight, the averaged weights and the guard, so a killed run
ends with the same weights as an undisturbed one.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from regrow.align.actor import Actor, Judged, Loop
from regrow.align.lesson import topic
from regrow.align.overoptimisation import GoldGuard, Truth
from regrow.align.rollouts import DRIFT, Rollouts, draw
from regrow.align.rows import Rows, stack
from regrow.corpus.tokenizer import Tokenizer
from regrow.errors import RegrowError
from regrow.files import write_atomic
from regrow.model.decoder import Decoder
from regrow.model.norms import Norm
from regrow.progress import Progress, silent
from regrow.records import Conversation
from regrow.seeds import derive
from regrow.train.checkpoint import Checkpoint, Checkpoints
from regrow.train.optim import Optimizer, OptimSettings, build
from regrow.train.precision import Precision, choose

#: Gold is looked at every five steps, and of a long run ten times.
WATCH_EVERY, LOOKS = 5, 10


class Reinforcement(Actor):
    """A policy under training. Subclasses say how it learns from a step's answers (`update`)."""

    phase: ClassVar[str] = "reinforcement"

    def __init__(
        self,
        policy: Decoder,
        tokenizer: Tokenizer,
        prompts: Sequence[Conversation],
        loop: Loop,
        *,
        seed: int,
        temperature: float,
        mix: Rows | None = None,
        mix_weight: float = 0.0,
        truth: Truth | None = None,
        precision: Precision | None = None,
    ) -> None:
        super().__init__(
            policy, tokenizer, prompts, loop, seed=seed, temperature=temperature, truth=truth
        )
        self.mix, self.mix_weight, self.beta = mix, mix_weight, loop.kl
        self._fixed: dict[str, Tensor] = {}  # weights that are not trained, in fp32
        self.guard = GoldGuard(fall=loop.gold_fall or 0.0) if self.aside.watched else None
        self.prepare(precision or choose())

    def prepare(self, precision: Precision) -> None:
        """Build the optimizer as well; what it does not move stands in the working precision."""
        super().prepare(precision)
        if self.loop.trained == "gains":
            norms = [module for module in self.policy.modules() if isinstance(module, Norm)]
            gains = {parameter for norm in norms for parameter in norm.parameters()}
            for name, parameter in self.policy.named_parameters():
                if parameter not in gains:
                    self._fixed.setdefault(name, parameter.detach().clone())
                    parameter.requires_grad_(False)
                    parameter.data = self._fixed[name].to(precision.dtype)
        self.adam = OptimSettings(
            name="adamw", rate=self.loop.rate, decay=0.0, betas=(0.9, 0.95), eps=1e-5, clip=1.0,
            average=self.loop.average,
        )  # fmt: skip
        self.optimizer: Optimizer = build(self.policy, self.adam, precision)
        self.best = self.optimizer.trainable.master.clone() if self.guard else None

    def release(self) -> None:
        """Give what is trained its fp32 weights as plain parameters."""
        for optimizer in self.optimizers().values():
            optimizer.trainable.release()
        for name, weight in self._fixed.items():
            parameter = self.policy.get_parameter(name)
            parameter.data = weight
            parameter.requires_grad_(True)

    def update(self, rollouts: Rollouts, groups: Sequence[str], step: int) -> dict[str, float]:
        """Learn from the answers of a step; returns its figures."""
        raise NotImplementedError

    def settle(self, figures: Mapping[str, float], answers: int) -> None:
        """Set the KL weight after a step."""

    def optimizers(self) -> dict[str, Optimizer]:
        """All that is trained, by name."""
        return {"policy": self.optimizer}

    def learn(self, loss: Tensor, place: int, scale: float) -> dict[str, float]:
        """Step the policy along this loss and, where there is a mix, its pretraining rows.

        The gradients of both add up (PPO-ptx); `place` counts minibatches, `scale` is that of the
        rate.
        """
        self.optimizer.zero_grad()
        self.optimizer.backward(loss)
        figures = {"policy_loss": float(loss.detach())}
        if self.mix is not None and self.mix_weight > 0:
            rows = self.loop.mix_rows
            inputs, targets, weights = map(torch.from_numpy, stack(self.mix, place * rows, rows))
            mix, _ = self.policy.loss(inputs, targets, weights)
            self.optimizer.backward(self.mix_weight * mix)
            figures["mix_loss"] = float(mix.detach())
        self.optimizer.step(scale)
        return figures

    def minibatches(self, step: int, rows: int) -> Iterator[tuple[Tensor, int, float]]:
        """The rows of each minibatch of a step, its place in the run, and the scale of the rate."""
        scale = min(1.0, (step + 1) / max(1, self.loop.warmup))
        for epoch in range(self.loop.epochs):
            first = (step * self.loop.epochs + epoch) * self.loop.minibatches
            for number, part in enumerate(self.parts(step, epoch, rows)):
                yield part, first + number, scale

    def look(self) -> dict[str, float]:
        """Measure gold, reward and KL on prompts held out, and let the guard judge those it
        watches. It keeps the weights if they are the best by gold; if gold fell, it returns to
        those kept."""
        with self._averaged():
            figures = self.held()
            if self.guard is None or self.best is None:
                return figures
            golds, worth = self._watched()
        gold, reward = float(golds.mean()), float(worth.mean())
        topics = [topic(prompt) for prompt in self.aside.watched]
        verdict = self.guard.note(golds.tolist(), reward, topics)
        if verdict == "best":
            self.best.copy_(self._kept())
        if verdict == "fell":
            self._take_up(self.best)
            self.beta *= 2
        figures |= {"watched_gold": gold, "watched_reward": reward}
        mark = {"best": "best", "fell": "returned"}.get(verdict)
        return figures | ({mark: 1.0} if mark else {})

    def _watched(self) -> Judged:
        """Gold and worth of what is answered to each prompt that is watched: the mean of the
        likeliest answer, which users mostly get, and a sampled one, which the policy is trained to
        better and which tells of it where the likeliest does not change yet."""
        prompts, length = self.aside.watched, self.loop.length
        drawn = [draw(self.policy, self.tokenizer, prompts, length=length)]
        if self.temperature:
            drawn.append(self.draw(prompts, derive(self.seed, "watched")))
        golds, worths = zip(*map(self.judged, drawn))
        return np.mean(golds, axis=0), np.mean(worths, axis=0)

    def _kept(self) -> Tensor:
        """The weights that would be saved now: their average where one is kept."""
        master, average = self.optimizer.trainable.master, self.optimizer.average
        return master if average is None else average

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The policy under its averaged weights, if it has some."""
        trainable = self.optimizer.trainable
        if self.optimizer.average is None:
            yield
            return
        own = trainable.master.clone()
        trainable.master.copy_(self.optimizer.average)
        trainable.publish()
        try:
            yield
        finally:
            trainable.master.copy_(own)
            trainable.publish()

    def _take_up(self, kept: Tensor) -> None:
        """Go on from these weights, and let their average be they."""
        for weights in (self.optimizer.trainable.master, self.optimizer.average):
            if weights is not None and weights is not kept:
                weights.copy_(kept)
        self.optimizer.trainable.publish()

    # The run

    def tensors(self) -> dict[str, Tensor]:
        """All that changes, by name."""
        out = {
            f"{name}.{key}": tensor
            for name, optimizer in self.optimizers().items()
            for key, tensor in optimizer.tensors().items()
        }
        return out if self.best is None else out | {"best": self.best}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the tensors, apart from what has been seen."""
        return {
            "identity": self.identity(), "beta": self.beta, "precision": self.precision.name,
            "counts": {name: one.count for name, one in self.optimizers().items()},
            "guard": self.guard.state() if self.guard else None,
        }  # fmt: skip

    def identity(self) -> dict[str, Any]:
        """What a run that goes on must have in common with the one that was begun."""
        told = {"loop": asdict(self.loop), "seed": self.seed, "prompts": len(self.prompts)}
        return dict(json.loads(json.dumps(told)))

    def restore(self, saved: Checkpoint) -> None:
        """Take up a checkpoint, in the precision that it was made in."""
        meta = saved.meta
        if meta.get("identity") != self.identity():
            raise RegrowError(
                "the checkpoints here are of a run with other settings or prompts; delete their "
                "folder to start anew"
            )
        if meta["precision"] != self.precision.name:
            self.release()
            self.prepare(choose(meta["precision"]))
        for name, optimizer in self.optimizers().items():
            prefix = f"{name}."
            mine = {k.removeprefix(prefix): v for k, v in saved.tensors.items()
                    if k.startswith(prefix)}  # fmt: skip
            optimizer.load(mine, meta["counts"][name])
        if self.best is not None:
            self.best.copy_(saved.tensors["best"])
            self.guard = GoldGuard(**meta["guard"])
        self.beta = meta["beta"]

    def run(self, folder: Path, progress: Progress = silent) -> dict[str, Any]:
        """Go on from the last checkpoint in `folder` to the end; returns figures by step, those
        after the end (`last`), the guard's, and what was gained on prompts held out."""
        with Checkpoints(folder / "checkpoints", keep=2) as checkpoints:
            lines = self._run(checkpoints, folder / "metrics.jsonl", progress)
        last = self.look()
        self._take_up(self._kept() if self.best is None else self.best)
        bound = DRIFT[self.precision.name]
        told = {"steps": lines, "last": last, "precision": self.precision.name}
        told["drift"] = {
            "largest": max((line["drift"] for line in lines), default=0.0), "bound": bound,
            "steps_over": sum(line["drift"] > bound for line in lines),
        }  # fmt: skip
        if self.guard is not None:
            means = {name: float(np.mean(getattr(self.guard, name))) for name in ("start", "best")}
            told["guard"] = self.guard.state() | means
        return told | ({"held_out": compared} if (compared := self.compare()) else {})

    def _run(self, checkpoints: Checkpoints, metrics: Path, progress: Progress) -> list[Any]:
        step, lines = 0, []
        every = max(WATCH_EVERY, self.loop.steps // LOOKS)
        if (found := checkpoints.load()) is not None:
            self.restore(found)
            step, lines = found.step, found.meta["lines"]
        while step < self.loop.steps and not (self.guard and self.guard.over):
            seen = self.look() if step % every == 0 else {}
            rollouts, groups, figures = self.roll_out(step)
            figures |= self.update(rollouts, groups, step) | seen
            self.settle(figures, len(groups))
            step += 1
            figures |= {"step": step, "beta": self.beta}
            lines.append({name: round(value, 7) for name, value in figures.items()})
            write_atomic(metrics, "".join(json.dumps(line) + "\n" for line in lines))
            shown = {k: figures[k] for k in ("reward", "kl", "gold") if k in figures}
            progress(step, self.loop.steps, phase=self.phase, **shown)
            if step % self.loop.checkpoint_every == 0 or step == self.loop.steps:
                checkpoints.save(step, self.tensors(), self.state() | {"lines": lines})
        return lines


def steps_in(lines: Sequence[Mapping[str, Any]], last: Mapping[str, Any] | None) -> list[int]:
    """The steps that stand in the weights after the steps of `lines`, in order, counted from 0.

    A look comes before its step: it kept the weights as the `best` so far, or returned to those.
    `last` is the look after the end, whose best is what was saved; None while a run goes on, and
    without a guard what the last step left is what was saved.
    """
    seen: list[int] = []
    best: list[int] = []
    for step, line in enumerate([*lines, last or {}]):
        best = list(seen) if line.get("best") else best
        seen = list(best) if line.get("returned") else seen
        seen.append(step)
    return best if last and "watched_gold" in last else seen[:-1]


def mean(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each figure over minibatches."""
    return {name: sum(one[name] for one in figures) / len(figures) for name in figures[0]}
