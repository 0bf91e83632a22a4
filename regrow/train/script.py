"""Interventions by hand, replayed from a script: what people did to OPT-175B and others mid-run.

OPT-175B's chronicles and paper (section 2.5) tell of lower learning rates from an earlier
checkpoint and of clipping at 0.3 instead of 1.0; GLM-130B's log of 200 steps of data skipped and a
halved rate; BLOOM's lessons learned of half the rate after a rollback. Here they are an arm of an
experiment, to be compared with doing nothing and with the guard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from regrow.errors import RegrowError


@dataclass(frozen=True, slots=True)
class Intervention:
    """What is done by hand when the run first comes to step `at`.

    rewind: go back to the state of that earlier step, and do the rest there. What was set by hand
    since then is taken back with it. rate: a factor on the planned learning rate, from here on.
    clip: the largest gradient norm, from here on. skip: so many batches from here are left out.
    reset: start the optimizer's moments anew.
    """

    at: int
    rewind: int | None = None
    rate: float | None = None
    clip: float | None = None
    skip: int = 0
    reset: bool = False

    def __post_init__(self) -> None:
        if self.rewind is not None and not 0 <= self.rewind < self.at:
            raise RegrowError(
                f"an intervention at step {self.at} cannot rewind to {self.rewind}; "
                "name an earlier step"
            )


class Script:
    """The interventions still to come, and what those past have set."""

    def __init__(self, interventions: Sequence[Intervention] = ()) -> None:
        self.coming = sorted(interventions, key=lambda one: one.at)
        self.rate = 1.0
        self.clip: float | None = None

    def due(self, step: int) -> Intervention | None:
        """Take the next intervention if its step has come; remember the rate and clip it sets."""
        if not self.coming or self.coming[0].at > step:
            return None
        now = self.coming.pop(0)
        if now.rewind is None:
            self.rate = self.rate if now.rate is None else now.rate
            self.clip = self.clip if now.clip is None else now.clip
        return now

    def rewound(self, by: Intervention, saved: Mapping[str, Any]) -> None:
        """Be as saved at or before step `by.rewind`, with the rest of `by` to be done there."""
        to = by.rewind or 0
        after = [replace(by, at=to, rewind=None), *self.coming]
        self.load(saved)
        self.coming = [one for one in self.coming if one.at < to] + after

    def state(self) -> dict[str, Any]:
        """Everything that changes, as JSON values."""
        coming = [asdict(one) for one in self.coming]
        return {"coming": coming, "rate": self.rate, "clip": self.clip}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` gave."""
        self.coming = [Intervention(**one) for one in state["coming"]]
        self.rate, self.clip = state["rate"], state["clip"]
