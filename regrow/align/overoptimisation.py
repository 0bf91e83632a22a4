"""A guard against over-optimisation: proxy rewards that rise while the truth falls.

Past some distance from its start a policy exploits the reward model's mistakes (Gao et al. 2023,
sec. 3). Where prompts can be judged by raters that the reward model never learnt from, their *gold*
score is watched over a few steps: the best weights by it are kept, and when it has fallen while the
reward rose, the policy returns to them under a doubled KL weight.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["", "best", "fell"]


@dataclass
class GoldGuard:
    """Judges each step by the mean gold score of the last `window` steps.

    `fall` is how far that mean may lie below the best one, in points of the raters' scale, and
    `returns` how often the policy is sent back before the run ends.
    """

    window: int = 5
    fall: float = 0.15
    returns: int = 3
    golds: list[float] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    best: float | None = None
    best_reward: float = 0.0
    returned: int = 0

    def note(self, gold: float, reward: float) -> Verdict:
        """What the figures of one more step say of the weights that they were measured on."""
        self.golds = [*self.golds, gold][-self.window :]
        self.rewards = [*self.rewards, reward][-self.window :]
        if len(self.golds) < self.window:
            return ""
        mean, proxy = (sum(values) / self.window for values in (self.golds, self.rewards))
        if self.best is None or mean > self.best:
            self.best, self.best_reward = mean, proxy
            return "best"
        if mean < self.best - self.fall and proxy > self.best_reward:
            self.golds, self.rewards = [], []
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
