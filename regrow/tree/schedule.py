"""Which step to start next, and how long all of them take side by side."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from regrow.tree.plan import Step


def tails(steps: Sequence[Step], seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds from the start of each step to the end of the longest chain that waits for it."""
    tail: dict[str, float] = {}
    for step in reversed(steps):
        after = [tail[later.name] for later in steps if step.name in later.needs]
        tail[step.name] = seconds.get(step.name, 0.0) + max(after, default=0.0)
    return tail


def ready(steps: Sequence[Step], done: set[str], busy: set[str]) -> list[str]:
    """Steps that may start now, in the order of the plan."""
    names = {step.name for step in steps}
    return [
        step.name
        for step in steps
        if step.name not in done | busy
        and all(need in done or need not in names for need in step.needs)
    ]


def choose(candidates: Sequence[str], tail: Mapping[str, float]) -> str:
    """The candidate with the longest chain behind it; the first in the plan among equals."""
    return max(candidates, key=lambda name: tail[name])


def makespan(
    steps: Sequence[Step],
    seconds: Mapping[str, float],
    jobs: int,
    busy: Mapping[str, float] | None = None,
) -> float:
    """Seconds until every step is done with `jobs` at a time, as `choose` would order them.

    `busy` are steps that run already, with the seconds they still need.
    """
    tail = tails(steps, seconds)
    done = {step.name for step in steps if step.state == "done"}
    running = [(left, name) for name, left in (busy or {}).items()]
    heapq.heapify(running)
    now = 0.0
    while True:
        names = {name for _, name in running}
        while len(running) < jobs and (open_ := ready(steps, done, names)):
            name = choose(open_, tail)
            heapq.heappush(running, (now + seconds.get(name, 0.0), name))
            names.add(name)
        if not running:
            return now
        now, name = heapq.heappop(running)
        done.add(name)
