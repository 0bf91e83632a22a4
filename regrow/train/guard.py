"""A guard against loss spikes: leave a bad batch out; if it goes on, rewind and skip.

PaLM (section 5.1) restarted from a checkpoint some 100 steps before a spike and skipped 200 to 500
batches around it; the same batches at another state did no harm. Here the same is automatic. A step
is judged before its update, so that a single bad batch is left out and has done nothing; where
spikes go on, or a weight is not finite, the state is at fault, and the run goes back. The window of
past values excludes spikes, and all of the guard's state is part of every checkpoint.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from regrow.errors import RegrowError
from regrow.train.script import Intervention

Verdict = Literal["accept", "skip", "rewind"]
MODES = ("guard", "ignore", "script")
#: So many of the last accepted values say where a run stands.
LATELY = 16
#: Deviations, above one a step, that a drift may gather: three to eight steps of a clear one.
DRIFT = 8.0


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """When a step is a spike and what then.

    A loss is a spike above level + max(margin, sigma * noise): the level is the median of the last
    16 accepted losses, the noise that of the last `window`; right after a spike half of that is
    allowed, and to a smaller batch more by the square root. The gradient norm, or that of the
    embedding alone (an early sign in GLM-130B's section 3 and log), is one above both norm_factor
    levels and level * exp(sigma * noise of its logarithms). All that once `ready` steps were
    accepted. What is not finite always is a spike. After `patience` spikes in a row, after a rise
    that only several steps together show, or at once where weights are not finite, the run goes
    back `before` steps and leaves out the batches from there to `after` steps past the last spike.
    More than `rewinds` without `window` accepted steps between them, other than those that a rewind
    repeats, end it.

    mode: `guard`; `ignore` notes spikes and lets them be; `script` notes them and does what
    `script` says instead, as people did by hand for OPT-175B. What is None is in proportion to the
    run: see `for_run`.
    """

    mode: str = "guard"
    script: tuple[Intervention, ...] = ()
    window: int | None = None
    ready: int | None = None
    before: int | None = None
    after: int | None = None
    sigma: float = 8.0
    margin: float = 0.5
    norm_factor: float = 10.0
    patience: int = 3
    rewinds: int = 3

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise RegrowError(f"unknown guard mode {self.mode!r}; use {', '.join(MODES)}")
        if (self.mode == "script") != bool(self.script):
            raise RegrowError("guard mode script and a script of interventions go together")

    def for_run(self, steps: int) -> GuardSettings:
        """The same with a window of 128 steps or a quarter of a shorter run, half of which must be
        full; and for a run of 5000 steps and more PaLM's 100 steps back and 300 batches left out,
        for a shorter one the same shares (2 % and 6 %)."""
        window = self.window or min(128, max(16, steps // 4))
        before = self.before or min(100, max(2, steps // 50))
        return replace(
            self,
            window=window,
            ready=window // 2 if self.ready is None else self.ready,
            before=before,
            after=2 * before if self.after is None else self.after,
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """What a step shows before its update; of a run on many devices, the all-reduced values.

    `embedding` is the norm of the embedding's gradient (0 without one), `rows` the step's
    [first, end), `sound` whether all weights are finite.
    """

    loss: float
    norm: float
    embedding: float = 0.0
    rows: tuple[int, int] = (0, 0)
    sound: bool = True

    @property
    def size(self) -> int:
        """Rows of the step."""
        return self.rows[1] - self.rows[0]


class Guard:
    """Judges each step before its update, and knows which steps are left out."""

    def __init__(self, settings: GuardSettings, steps: int = 0) -> None:
        self.settings = s = settings.for_run(steps)
        self.window, self.ready = s.window or 0, s.ready or 0
        self.before, self.after = s.before or 0, s.after or 0
        self.past: dict[str, deque[float]] = {
            name: deque(maxlen=self.window) for name in ("loss", "norm", "embedding", "size")
        }
        self.drift, self.since = 0.0, 0  # how much the last steps stood above the level, from when
        self.streak: list[int] = []  # the spikes in a row up to now
        self.calm = 0  # new steps accepted since the last rewind
        self.rewinds = 0
        self.windows: list[tuple[int, int]] = []  # steps left out, [first, last + 1)
        self.ledger: list[dict[str, Any]] = []

    @property
    def reach(self) -> int:
        """How far behind the newest checkpoint an older one must be to rewind to, even twice."""
        by_hand = [one.at - one.rewind for one in self.settings.script if one.rewind is not None]
        return max([2 * self.before + self.settings.patience, *by_hand])

    def check(self, step: int, reading: Reading) -> Verdict:
        """Judge a step: accept it, skip its update, or rewind (then call `rewound`)."""
        found = self._spike(reading) or self._drift(step, reading)
        if found is None:
            self._accept(step, reading)
            return "accept"
        acting = self.settings.mode == "guard"
        if acting or not self.streak:
            self.note(step, "spike", **found, **_finite(reading))
            self.streak += [self.since, step] if self.drift > DRIFT else [step]
        if not acting:
            return "accept"
        lasting = len(self.streak) >= self.settings.patience or not reading.sound
        lasting = lasting or self.drift > DRIFT
        return "rewind" if lasting else "skip"

    def _spike(self, now: Reading) -> dict[str, Any] | None:
        """Why this step is a spike and what limit it passed; None if it is none."""
        if not now.sound:
            return {"why": "weights are not finite"}
        if not (math.isfinite(now.loss) and math.isfinite(now.norm)):
            return {"why": f"loss {now.loss} or gradient norm {now.norm} is not finite"}
        if len(self.past["loss"]) < self.ready:
            return None
        s, past = self.settings, self.past["loss"]
        strict = 0.5 if self.streak else 1.0  # what is half way back has not recovered
        # a smaller batch, such as the last, varies more
        few = max(1.0, _level(self.past["size"]) / now.size) ** 0.5 if now.size else 1.0
        limit = _level(past) + few * strict * s.margin
        if now.loss > limit:  # the noise is looked at only where it can matter
            limit = _level(past) + few * strict * max(s.margin, s.sigma * _noise(past))
            if now.loss > limit:
                return {"why": f"loss {now.loss:.3f} above {limit:.3f}", "limit": limit}
        for name, value in (("norm", now.norm), ("embedding", now.embedding)):
            level = few * _level(self.past[name])
            if value > s.norm_factor * level > 0:
                noise = _usual_noise([math.log(x) for x in self.past[name] if x > 0])
                limit = level * max(s.norm_factor, math.exp(min(s.sigma * noise, 700)))
                if value > limit:
                    whose = "the embedding's gradient" if name == "embedding" else "gradient"
                    return {"why": f"{whose} norm {value:.3g} above {limit:.3g}", "limit": limit}
        return None

    def _drift(self, step: int, now: Reading) -> dict[str, Any] | None:
        """Why the last steps together are a spike though none was alone (a cumulative sum).

        Both loss and gradient norm must stand above their levels. Right after a rewind none is
        looked for: other data from another state that stand as high show that the data are new.
        """
        losses, norms = self.past["loss"], self.past["norm"]
        if len(losses) < self.ready or self.rewinds or not self.settings.sigma:
            return None
        levels = _level(losses), _level(norms)
        if now.loss <= levels[0] or now.norm <= levels[1]:
            self.drift = max(0.0, self.drift - 1.0)
            return None
        apart = math.log(now.norm / max(levels[1], 1e-30))
        noise = [math.log(max(norm, 1e-30)) for norm in norms]
        score = min(
            (now.loss - levels[0]) / max(_noise(losses), 1e-6), apart / max(_noise(noise), 1e-6)
        )
        if not self.drift:
            self.since = step
        self.drift = max(0.0, self.drift + min(4.0, score) - 1.0)
        if self.drift <= DRIFT:
            return None
        return {"why": f"loss and gradient norm stand higher since step {self.since}"}

    def _accept(self, step: int, now: Reading) -> None:
        if self.streak and self.settings.mode != "guard":
            self.note(step, "recovered", after=step - self.streak[0])
        self.streak.clear()
        for name, past in self.past.items():
            past.append(getattr(now, name))
        if not self.windows or step >= self.windows[-1][1]:  # not what a rewind repeats
            self.calm += 1
        if self.calm >= self.window:
            self.rewinds = 0

    def forget(self) -> None:
        """Measure anew: from here on the data are other ones, on purpose."""
        self.drift = 0.0
        for past in self.past.values():
            past.clear()

    def note(self, step: int, event: str, **values: Any) -> None:
        """Add an event to the ledger."""
        self.ledger.append({"step": step, "event": event, **values})

    @property
    def rewind_to(self) -> int:
        """The step to go back to: `before` steps that were not left out before the first spike."""
        step, left = self.streak[0], self.before
        while step > 0 and left > 0:
            step -= 1
            left -= not self.skips(step)
        return step

    @property
    def exhausted(self) -> bool:
        """Whether it has gone back as often as it may."""
        return self.rewinds >= self.settings.rewinds

    def rewound(self, saved: Mapping[str, Any]) -> tuple[int, int]:
        """Take back the values saved earlier, and leave out the steps around the spike.

        Returns these steps as [first, end). Raises RegrowError where it went back too often.
        """
        if self.exhausted:
            raise RegrowError(
                f"training diverged at step {self.streak[0]} again after {self.rewinds} rewinds "
                f"({self.ledger[-1]['why']})"
            )
        skip = (self.rewind_to, self.streak[-1] + 1 + self.after)
        rewinds, windows, ledger = self.rewinds + 1, [*self.windows, skip], self.ledger
        self.load(saved)
        self.streak.clear()
        self.drift = 0.0
        self.rewinds, self.calm, self.windows, self.ledger = rewinds, 0, windows, ledger
        return skip

    def leave_out(self, first: int, end: int) -> None:
        """Skip the steps [first, end)."""
        if end > first:
            self.windows.append((first, end))

    def skips(self, step: int) -> bool:
        """Whether this step's batch is left out."""
        return any(first <= step < end for first, end in self.windows)

    def state(self) -> dict[str, Any]:
        """Everything that changes, as JSON values."""
        return {
            "past": {name: list(past) for name, past in self.past.items()},
            "drift": [self.drift, self.since],
            "streak": list(self.streak),
            "calm": self.calm,
            "rewinds": self.rewinds,
            "windows": [list(w) for w in self.windows],
            "ledger": list(self.ledger),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` gave."""
        self.past = {name: deque(state["past"][name], maxlen=self.window) for name in state["past"]}
        self.drift, self.since = state["drift"]
        self.streak = list(state["streak"])
        self.calm, self.rewinds = state["calm"], state["rewinds"]
        self.windows = [(first, end) for first, end in state["windows"]]
        self.ledger = [dict(event) for event in state["ledger"]]


def _level(values: Iterable[float]) -> float:
    """Where the values stand now: the median of the last few."""
    return statistics.median(list(values)[-LATELY:])


def _noise(values: Iterable[float]) -> float:
    """The standard deviation from step to step, blind to a trend such as learning.

    The root mean square difference of neighbours, over sqrt(2). Not a median: batches of a few rows
    from mixed sources have long tails, and spikes are not among the values.
    """
    apart = [(b - a) ** 2 for a, b in itertools.pairwise(values)]
    return math.sqrt(sum(apart) / len(apart) / 2) if apart else 0.0


def _usual_noise(values: Iterable[float]) -> float:
    """The same from the median difference, which a single value that was let through leaves alone.

    Scaled as for independent normal values.
    """
    apart = [abs(b - a) for a, b in itertools.pairwise(values)]
    return 1.4826 * statistics.median(apart) / math.sqrt(2) if apart else 0.0


def _finite(now: Reading) -> dict[str, Any]:
    """The reading for a ledger; what is not finite is None, as JSON has no word for it."""
    numbers = {"loss": now.loss, "norm": now.norm, "embedding": now.embedding}
    clean = {name: x if math.isfinite(x) else None for name, x in numbers.items()}
    return {**clean, "rows": list(now.rows)}
