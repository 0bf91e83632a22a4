"""A guard against over-optimisation: proxy rewards that rise while the truth falls.

Past some distance from its start a policy exploits the reward model's mistakes (Gao et al. 2023,
sec. 3). Where prompts can be judged by raters that the reward model never learnt from, their *gold*
score of the likeliest answers to a fixed set of prompts is watched: the best weights by it are
kept, and when it has fallen while the reward rose, the policy returns to them under a doubled KL
weight.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["", "best", "fell"]


@dataclass
class GoldGuard:
    """Judges weights by the gold score and the reward of their answers to the same prompts.

    `fall` is how far gold may lie below its best, in points of the raters' scale, and `returns` how
    often the policy is sent back before the run ends.
    """

    fall: float = 0.1
    returns: int = 3
    best: float | None = None
    best_reward: float = 0.0
    returned: int = 0

    def note(self, gold: float, reward: float) -> Verdict:
        """What these scores say of the weights that they were measured on."""
        if self.best is None or gold > self.best:
            self.best, self.best_reward = gold, reward
            return "best"
        if gold < self.best - self.fall and reward > self.best_reward:
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
