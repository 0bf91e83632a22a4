"""The PPO loop: sample, score, penalise, update; resumable at any step, bit for bit.

Everything random is drawn from (seed, step), and a checkpoint holds both optimizers, the KL
controller and the averaged weights, so a killed run ends with the same weights as an undisturbed
one. The checks of research/posttraining.md are kept here: one temperature everywhere, no
truncated sampling, no dropout, positions free of padding, the ratio exactly 1 before an update.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regrow.align import ppo
from regrow.align.overoptimisation import GoldGuard
from regrow.align.ppo import KlController, PpoSettings, Rollouts
from regrow.align.reward import RewardModel, score_rows
from regrow.align.rows import Rows, stack
from regrow.corpus.tokenizer import Tokenizer
from regrow.generate.sampler import Sampling, generate
from regrow.model.decoder import Decoder
from regrow.progress import Progress, silent
from regrow.records import Conversation
from regrow.seeds import derive, rng
from regrow.train.checkpoint import Checkpoints
from regrow.train.optim import Optimizer, OptimSettings, build
from regrow.train.precision import Precision, choose

#: How many prompts the gold score is watched on, and every so many steps.
WATCHED, WATCH_EVERY = 128, 5

#: Judges an answer to a prompt that has a `check`, without noise; watched, never trained on.
Gold = Callable[[Conversation, str], float]


@dataclass(frozen=True, slots=True)
class RlhfLoop:
    """How long and how hard. `prompts` and `samples` are per step; `length` in tokens."""

    steps: int
    prompts: int = 64
    samples: int = 2
    length: int = 96
    minibatches: int = 4
    epochs: int = 1
    rate: float = 1e-4
    value_rate: float = 3e-4
    warmup: int = 5
    kl: float = 0.05
    kl_target: float | None = None
    average: float = 0.0  # OptimSettings.average of the policy (InstructGPT: 0.992)
    mix_rows: int = 8  # pretraining rows beside each minibatch
    gold_fall: float | None = None  # points of gold that may be lost before the policy returns
    checkpoint_every: int = 5
    ppo: PpoSettings = field(default_factory=PpoSettings)


class Rlhf:
    """A policy, its frozen reference, a reward model and a value model that starts as its copy."""

    def __init__(
        self,
        policy: Decoder,
        reward: RewardModel,
        tokenizer: Tokenizer,
        prompts: Sequence[Conversation],
        loop: RlhfLoop,
        *,
        seed: int,
        mix: Rows | None = None,
        gold: Gold | None = None,
        precision: Precision | None = None,
    ) -> None:
        precision = precision or choose()
        self.tokenizer, self.loop, self.seed = tokenizer, loop, seed
        self.reference = copy.deepcopy(policy).to(precision.dtype).eval()
        self.reward = copy.deepcopy(reward).to(precision.dtype).eval()
        self.policy, self.values = policy, copy.deepcopy(reward)
        adam = OptimSettings(
            name="adamw", rate=loop.rate, decay=0.0, betas=(0.9, 0.95), eps=1e-5, clip=1.0
        )
        averaged = replace(adam, average=loop.average)
        self.optimizer: Optimizer = build(policy, averaged, precision)
        self.value_optimizer = build(self.values, replace(adam, rate=loop.value_rate), precision)
        self.controller = KlController(loop.kl, loop.kl_target)
        self.mix, self.gold = mix, gold
        self.watched, self.prompts = self._put_aside(prompts) if loop.gold_fall else ([], prompts)
        self.guard = GoldGuard(fall=loop.gold_fall or 0.0) if self.watched else None
        self.best = self.optimizer.trainable.master.clone() if self.watched else None

    def _put_aside(
        self, prompts: Sequence[Conversation]
    ) -> tuple[list[Conversation], list[Conversation]]:
        """Prompts to watch gold on, at most a quarter of those that can be judged, and the rest."""
        judged = [i for i, prompt in enumerate(prompts) if prompt.check and self.gold]
        order = rng(self.seed, "watched").permutation(len(judged))[: min(WATCHED, len(judged) // 4)]
        aside = {judged[i] for i in order}
        watched = [prompts[i] for i in sorted(aside)]
        return watched, [prompt for i, prompt in enumerate(prompts) if i not in aside]

    def chosen(self, step: int) -> list[Conversation]:
        """The prompts of a step: a seeded order without repeats within an epoch."""
        count = min(self.loop.prompts, len(self.prompts))
        per_epoch = max(1, len(self.prompts) // count)
        order = rng(self.seed, "prompts", step // per_epoch).permutation(len(self.prompts))
        start = step % per_epoch * count
        return [self.prompts[i] for i in order[start : start + count]]

    @torch.no_grad()
    def roll_out(self, step: int) -> tuple[Rollouts, list[str], dict[str, float]]:
        """Answers of a step with all that the update needs, their groups, and figures."""
        loop, tokenizer = self.loop, self.tokenizer
        prompts = self.chosen(step)
        ids = [tokenizer.chat(p.messages, answer=True)[0] for p in prompts]
        sampling = Sampling(
            max_tokens=loop.length,
            temperature=loop.ppo.temperature,
            stop_ids=(tokenizer.end, tokenizer.eos),
            seed=derive(self.seed, "rollout", step),
        )
        completions = generate(self.policy, tokenizer, ids, sampling, samples=loop.samples)
        flat = [
            (prompt, ids[n], answer)
            for n, prompt in enumerate(prompts)
            for answer in completions[n]
            if answer.ids
        ]
        before, after = [p for _, p, _ in flat], [a.ids for _, _, a in flat]
        rows, answer = ppo.lay_out(before, after, tokenizer.pad)
        raw = score_rows(self.reward, [[*p, *a] for p, a in zip(before, after)], tokenizer.pad)
        ended = np.array([a.finished for _, _, a in flat])
        scores = np.clip(raw, -loop.ppo.score_clip, loop.ppo.score_clip)
        if loop.ppo.no_end_score is not None:
            scores[~ended] = loop.ppo.no_end_score
        heat = loop.ppo.temperature
        log_old = ppo.token_log_probabilities(self.policy, rows, answer, heat)
        log_ref = ppo.token_log_probabilities(self.reference, rows, answer, heat)
        values = ppo.value_at(self.values, rows, answer)
        rollouts = Rollouts(rows, answer, torch.from_numpy(scores), log_old, log_ref, values)
        kl = float((log_old - log_ref).sum() / answer.sum())
        figures = {
            "reward": float(scores.mean()), "kl": kl, "length": float(answer.sum(1).mean()),
            "ended": float(ended.mean()), "tokens": float(answer.sum()),
        }  # fmt: skip
        if self.gold is not None:
            judged = [self.gold(p, a.text) for p, _, a in flat if p.check]
            figures |= {"gold": float(np.mean(judged))} if judged else {}
        return rollouts, _groups([p.family for p, _, _ in flat]), figures

    def update(self, rollouts: Rollouts, groups: Sequence[str], step: int) -> dict[str, float]:
        """One PPO update from the answers of a step."""
        loop, s = self.loop, self.loop.ppo
        rewards = ppo.token_rewards(
            rollouts.scores,
            rollouts.log_old,
            rollouts.log_ref,
            rollouts.answer,
            self.controller.beta,
        )
        advantage, returns = ppo.advantages(
            rewards, rollouts.values_old, rollouts.answer, s.discount, s.trace
        )
        advantage = ppo.whiten(advantage, rollouts.answer, groups)
        scale = min(1.0, (step + 1) / max(1, loop.warmup))
        sums: dict[str, float] = {}
        for epoch in range(loop.epochs):
            order = rng(self.seed, "minibatches", step, epoch).permutation(len(rollouts.ids))
            for number, part in enumerate(np.array_split(order, loop.minibatches)):
                place = (step * loop.epochs + epoch) * loop.minibatches + number
                figures = self._minibatch(
                    rollouts, advantage, returns, torch.from_numpy(part), place, scale
                )
                for name, value in figures.items():
                    sums[name] = sums.get(name, 0.0) + value
        return {name: value / (loop.epochs * loop.minibatches) for name, value in sums.items()}

    def _minibatch(
        self,
        r: Rollouts,
        advantage: Tensor,
        returns: Tensor,
        part: Tensor,
        place: int,
        scale: float,
    ) -> dict[str, float]:
        s = self.loop.ppo
        length = int(ppo.last_places(r.answer[part]).max()) + 1  # trim padding
        ids, answer = r.ids[part, : length + 1], r.answer[part, :length]
        log_new = ppo.token_log_probabilities(self.policy, ids, answer, s.temperature)
        loss, clipped = ppo.policy_loss(
            log_new, r.log_old[part, :length], advantage[part, :length], answer, s.clip_ratio
        )
        self.optimizer.zero_grad()
        self.optimizer.backward(loss)
        figures = {"policy_loss": float(loss.detach()), "clipped": clipped}
        if self.mix is not None and s.pretraining_mix > 0:
            rows = self.loop.mix_rows
            inputs, targets, weights = map(torch.from_numpy, stack(self.mix, place * rows, rows))
            mix, _ = self.policy.loss(inputs, targets, weights)
            self.optimizer.backward(s.pretraining_mix * mix)
            figures["mix_loss"] = float(mix.detach())
        self.optimizer.step(scale)
        value = ppo.value_loss(
            ppo.value_at(self.values, ids, answer),
            r.values_old[part, :length],
            returns[part, :length],
            answer,
            s.value_clip,
        )
        self.value_optimizer.zero_grad()
        self.value_optimizer.backward(s.value_weight * value)
        self.value_optimizer.step(scale)
        figures["value_loss"] = float(value.detach())
        return figures

    def tensors(self) -> dict[str, Tensor]:
        """All that changes, by name."""
        out = {f"policy.{k}": v for k, v in self.optimizer.tensors().items()}
        out |= {f"value.{k}": v for k, v in self.value_optimizer.tensors().items()}
        return out if self.best is None else out | {"best": self.best}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take up a checkpoint."""
        for prefix, optimizer in (("policy.", self.optimizer), ("value.", self.value_optimizer)):
            mine = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            optimizer.load(mine, state[prefix + "count"])
        if self.best is not None:
            self.best.copy_(tensors["best"])
            self.guard = GoldGuard(**state["guard"])
        self.controller.beta = state["beta"]

    def state(self, step: int) -> dict[str, Any]:
        """What a checkpoint keeps beside the tensors."""
        return {
            "step": step, "beta": self.controller.beta,
            "policy.count": self.optimizer.count, "value.count": self.value_optimizer.count,
            "guard": self.guard.state() if self.guard else None,
        }  # fmt: skip

    def watch(self) -> dict[str, float]:
        """Keep the weights if they are the best by gold; if gold fell, return to those kept."""
        if self.guard is None or self.best is None or self.gold is None:
            return {}
        tokenizer = self.tokenizer
        ids = [tokenizer.chat(p.messages, answer=True)[0] for p in self.watched]
        stops = (tokenizer.end, tokenizer.eos)
        answers = generate(self.policy, tokenizer, ids, Sampling(self.loop.length, stop_ids=stops))
        golds = [self.gold(p, a.text) for p, (a,) in zip(self.watched, answers)]
        rows = [[*asked, *a.ids] for asked, (a,) in zip(ids, answers)]
        gold = float(np.mean(golds))
        reward = float(score_rows(self.reward, rows, tokenizer.pad).mean())
        verdict = self.guard.note(gold, reward)
        master = self.optimizer.trainable.master
        if verdict == "best":
            self.best.copy_(master)
        if verdict == "fell":
            master.copy_(self.best)
            self.optimizer.trainable.publish()
            self.controller.beta *= 2
        figures = {"watched_gold": gold, "watched_reward": reward}
        mark = {"best": "best", "fell": "returned"}.get(verdict)
        return figures | ({mark: 1.0} if mark else {})

    def run(self, folder: Path, progress: Progress = silent) -> dict[str, Any]:
        """Go on from the last checkpoint in `folder` to the end; returns the figures by step."""
        with Checkpoints(folder / "checkpoints", keep=2) as checkpoints:
            return self._run(checkpoints, folder / "metrics.jsonl", progress)

    def _run(self, checkpoints: Checkpoints, metrics: Path, progress: Progress) -> dict[str, Any]:
        step, lines = 0, []
        found = checkpoints.load()
        if found is not None:
            self.restore(found.tensors, found.meta)
            step = found.meta["step"]
            lines = found.meta["lines"]
        while step < self.loop.steps and not (self.guard and self.guard.over):
            seen = self.watch() if step % WATCH_EVERY == 0 else {}
            rollouts, groups, figures = self.roll_out(step)
            figures |= self.update(rollouts, groups, step) | seen
            self.controller.update(figures["kl"], len(groups))
            step += 1
            figures |= {"step": step, "beta": self.controller.beta}
            lines.append({name: round(value, 5) for name, value in figures.items()})
            metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
            shown = {k: figures[k] for k in ("reward", "kl", "gold") if k in figures}
            progress(step, self.loop.steps, phase="ppo", **shown)
            if step % self.loop.checkpoint_every == 0 or step == self.loop.steps:
                checkpoints.save(step, self.tensors(), self.state(step) | {"lines": lines})
        last = self.watch()
        kept = self.optimizer.average if self.best is None else self.best
        if kept is not None:
            self.optimizer.trainable.master.copy_(kept)
            self.optimizer.trainable.publish()
        if self.guard is None:
            return {"steps": lines}
        return {"steps": lines, "last": last, "guard": self.guard.state()}


def steps_in(lines: Sequence[Mapping[str, Any]], last: Mapping[str, Any] | None) -> list[int]:
    """The steps that stand in the weights after the steps of `lines`, in order, counted from 0.

    A watch comes before its step: it kept the weights as the `best` so far, or returned to those.
    `last` is the watch after the end, whose best is what was saved; None while a run goes on.
    """
    seen: list[int] = []
    best: list[int] = []
    for step, line in enumerate([*lines, last or {}]):
        best = list(seen) if line.get("best") else best
        seen = list(best) if line.get("returned") else seen
        seen.append(step)
    return seen[:-1] if not last else best


def _groups(families: Sequence[str], least: int = 8) -> list[str]:
    """The families by which advantages are whitened; those with few answers share one group."""
    counts = Counter(families)
    return [name if counts[name] >= least else "few" for name in families]
