"""A guard against loss spikes: leave a bad batch out; if it goes on, rewind and skip.

PaLM (section 5.1) restarted from a checkpoint some 100 steps before a spike and skipped the
batches around it; the same batches at another state did no harm. Here the same is automatic, the
window of past losses excludes spikes, and its state is part of every checkpoint.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from regrow.errors import RegrowError

Verdict = Literal["accept", "skip", "rewind"]


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """When a step is a spike and what then.

    A loss is a spike above median + max(margin, sigma * robust deviation) of the last `window`
    accepted losses; a gradient norm above `norm_factor` medians; both once `ready` steps were
    accepted. What is not finite always is one. After `patience` spikes in a row the run goes back
    to a checkpoint at least `before` steps before the first, and leaves out all batches from there
    to `after` steps past the last. More than `rewinds` without `window` accepted steps between
    them end the run.
    """

    window: int = 128
    ready: int = 64
    sigma: float = 6.0
    margin: float = 0.5
    norm_factor: float = 10.0
    patience: int = 3
    before: int = 10
    after: int = 20
    rewinds: int = 3

    @property
    def reach(self) -> int:
        """How far behind the newest checkpoint an older one must be to rewind to."""
        return self.before + self.patience


class Guard:
    """Judges each step before its update, from the (all-reduced) loss and gradient norm."""

    def __init__(self, settings: GuardSettings) -> None:
        self.settings = settings
        self.losses: deque[float] = deque(maxlen=settings.window)
        self.norms: deque[float] = deque(maxlen=settings.window)
        self.streak: list[int] = []  # the spikes in a row up to now
        self.calm = 0  # steps accepted since the last rewind
        self.rewinds = 0
        self.windows: list[tuple[int, int]] = []  # steps left out, [first, last + 1)
        self.ledger: list[dict[str, Any]] = []

    def reason(self, loss: float, norm: float) -> str:
        """Why this step is a spike, in words; empty if it is none."""
        s = self.settings
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return f"loss {loss} or gradient norm {norm} is not finite"
        if len(self.losses) < s.ready:
            return ""
        middle = statistics.median(self.losses)
        spread = 1.4826 * statistics.median(abs(x - middle) for x in self.losses)
        limit = middle + max(s.margin, s.sigma * spread)
        if loss > limit:
            return f"loss {loss:.3f} above {limit:.3f}"
        limit = s.norm_factor * statistics.median(self.norms)
        return f"gradient norm {norm:.3g} above {limit:.3g}" if norm > limit > 0 else ""

    def check(self, step: int, loss: float, norm: float) -> Verdict:
        """Judge a step: accept it, skip its update, or rewind (then call `rewound`)."""
        why = self.reason(loss, norm)
        if not why:
            self.losses.append(loss)
            self.norms.append(norm)
            self.streak.clear()
            self.calm += 1
            if self.calm >= self.settings.window:
                self.rewinds = 0
            return "accept"
        self.streak.append(step)
        self.ledger.append({"step": step, "event": "spike", "why": why})
        return "rewind" if len(self.streak) >= self.settings.patience else "skip"

    @property
    def rewind_to(self) -> int:
        """The latest step that may be gone back to."""
        return max(0, self.streak[0] - self.settings.before)

    def rewound(self, to: int, saved: Mapping[str, Any]) -> None:
        """Take back the window saved at step `to`, and leave out the batches around the spike."""
        s = self.settings
        first, last = self.streak[0], self.streak[-1]
        rewinds, ledger = self.rewinds + 1, self.ledger
        if rewinds > s.rewinds:
            raise RegrowError(
                f"training diverged at step {first} again after {s.rewinds} rewinds "
                f"({ledger[-1]['why']}); lower the learning rate or look at the data there"
            )
        skip = (self.rewind_to, last + 1 + s.after)
        windows = [*self.windows, skip]
        self.load(saved)
        self.streak.clear()
        self.rewinds, self.calm, self.windows, self.ledger = rewinds, 0, windows, ledger
        ledger.append({"step": last, "event": "rewind", "to": to, "skip": list(skip)})

    def skips(self, step: int) -> bool:
        """Whether this step's batch is left out."""
        return any(first <= step < end for first, end in self.windows)

    def state(self) -> dict[str, Any]:
        """Everything that changes, as JSON values."""
        return {
            "losses": list(self.losses),
            "norms": list(self.norms),
            "streak": list(self.streak),
            "calm": self.calm,
            "rewinds": self.rewinds,
            "windows": [list(w) for w in self.windows],
            "ledger": list(self.ledger),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` gave."""
        self.losses = deque(state["losses"], maxlen=self.settings.window)
        self.norms = deque(state["norms"], maxlen=self.settings.window)
        self.streak = list(state["streak"])
        self.calm, self.rewinds = state["calm"], state["rewinds"]
        self.windows = [(first, end) for first, end in state["windows"]]
        self.ledger = [dict(event) for event in state["ledger"]]
