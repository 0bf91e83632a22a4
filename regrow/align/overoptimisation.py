"""A guard against over-optimisation: proxy rewards that rise while the truth falls.

Past some distance from its start a policy exploits the reward model's mistakes (Gao et al. 2023,
sec. 3). Where prompts can be judged by raters that the reward model never learnt from, their *gold*
score of answers to a fixed set of prompts is watched, the likeliest and a sampled one to each: the
best weights by it are kept, and when it has fallen while the reward rose, the policy returns to
them under a doubled KL weight.

Weights that were chosen by a score are flattered by it. So another set of prompts is held out from
training and from choosing alike, and what a run gained is told by those. Prompts ask the same thing
often, in the same words or in others: what is put aside is always all that asks it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from regrow.align.lesson import topic
from regrow.records import Conversation
from regrow.seeds import rng

#: Judges answers to prompts that have a `check`, without noise: one number an answer.
Truth = Callable[[Sequence[Conversation], Sequence[str]], Sequence[float]]
Verdict = Literal["", "best", "fell"]


@dataclass
class GoldGuard:
    """Judges weights by the gold scores and the mean reward of their answers to the same prompts.

    `fall` is how far gold may lie below its best, in points of the raters' scale, and `returns` how
    often the policy is sent back before the run ends. Weights are the best if their mean is, and if
    they gained more than a standard error from the start; a fall within an error counts for none:
    so luck on these prompts is taken for neither skill nor harm.
    """

    fall: float = 0.1
    returns: int = 3
    start: list[float] = field(default_factory=list)  # gold by prompt
    best: list[float] = field(default_factory=list)
    best_reward: float = 0.0
    returned: int = 0

    def note(
        self, golds: Sequence[float], reward: float, topics: Sequence[str] | None = None
    ) -> Verdict:
        """What these scores say of the weights that they were measured on; `topics` are those of
        the prompts, each another if None."""
        now = [float(gold) for gold in golds]
        names = topics or [str(n) for n in range(len(now))]
        gain, error = _gain(now, self.best or now, names)
        from_start, its_error = _gain(now, self.start or now, names)
        if not self.best or (gain > 0 and from_start > its_error):
            self.start = self.start or now
            self.best, self.best_reward = now, reward
            return "best"
        if gain < -max(self.fall, error) and reward > self.best_reward:
            self.returned += 1
            return "fell"
        return ""

    @property
    def over(self) -> bool:
        """Whether the policy has been sent back often enough."""
        return self.returned > self.returns

    def state(self) -> dict[str, Any]:
        """What `GoldGuard(**state)` goes on from."""
        return asdict(self)


@dataclass(frozen=True)
class Aside:
    """Prompts that a policy never learns from, and `rest`, which it does; no two share a topic."""

    watched: Sequence[Conversation]
    held: Sequence[Conversation]
    rest: Sequence[Conversation]


def put_aside(prompts: Sequence[Conversation], seed: int, hold: int, watch: int) -> Aside:
    """Of the prompts that can be judged at most a quarter to hold out (and at most `hold`), and
    another to watch (at most `watch`).

    Topics are drawn alike and taken whole, so that each kind of prompt keeps its share; one that
    does not fit any more stays where it was.
    """
    topics: dict[str, list[int]] = {}
    for place, prompt in enumerate(prompts):
        if prompt.check:
            topics.setdefault(topic(prompt), []).append(place)
    names = list(topics)
    order = [names[i] for i in rng(seed, "aside").permutation(len(names))]
    quarter = sum(map(len, topics.values())) // 4

    def take(room: int) -> list[str]:
        taken: list[str] = []
        for name in order:
            if len(topics[name]) <= room:
                taken.append(name)
                room -= len(topics[name])
        return taken

    held = take(min(hold, quarter))
    held = held if len(held) > 1 else []  # of one alone there is no error
    order = [name for name in order if name not in held]
    watched = take(min(watch, quarter))
    apart = {place for name in (*watched, *held) for place in topics[name]}
    return Aside(
        [prompts[place] for name in watched for place in topics[name]],
        [prompts[place] for name in held for place in topics[name]],
        [prompt for place, prompt in enumerate(prompts) if place not in apart],
    )


def error_of(values: np.ndarray, topics: Sequence[str], spent: int = 0) -> float:
    """The standard error of a mean, where values of one topic are not independent; `spent` is 1
    for the sample's and 0 for the population's deviation."""
    residuals = values - values.mean()
    sums = [residuals[[one == name for one in topics]].sum() for name in dict.fromkeys(topics)]
    scale = len(sums) / (len(sums) - spent)
    return float((scale * np.square(sums).sum()) ** 0.5 / len(values))


def _gain(
    now: Sequence[float], then: Sequence[float], topics: Sequence[str]
) -> tuple[float, float]:
    """The mean gain on the same prompts, and its standard error."""
    gains = np.asarray(now) - np.asarray(then)
    return float(gains.mean()), error_of(gains, topics)


def change(before: np.ndarray, after: np.ndarray, topics: Sequence[str]) -> dict[str, float]:
    """What a score gained on the same prompts, with the standard error of the paired difference,
    clustered by topic."""
    was, now = before.astype(float), after.astype(float)
    gain = now - was
    return {
        "before": float(was.mean()), "after": float(now.mean()), "gain": float(gain.mean()),
        "error": error_of(gain, topics, 1), "n": len(gain), "topics": len(set(topics)),
    }  # fmt: skip
