"""Growing the arms of claims: each is a run of the tree, and what two runs share is grown once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from regrow.claims.arms import SWEEP_SEED, Place, check, place
from regrow.claims.claim import Claim
from regrow.claims.evidence import candidates, recipes_of, swept
from regrow.claims.verdict import SECOND
from regrow.errors import RegrowError
from regrow.tree import calibrate
from regrow.tree.edge import read_edge
from regrow.tree.graph import lineage
from regrow.tree.load import load_recipe
from regrow.tree.plan import BEFORE, MEASURE, Grown, make_plan
from regrow.tree.recipe import Recipe

#: A step by name and fingerprint: equal ones are the same work.
Key = tuple[str, str]


@dataclass
class Task:
    """One run of the tree: its targets, and seconds by step for what nobody has grown yet.

    Without seconds all that it lacks lies elsewhere, to be linked.
    """

    place: Place
    to: list[str]
    seconds: dict[Key, float] = field(default_factory=dict)


@dataclass
class Plan:
    """What a claim still needs: `tasks` now, `later` about as much once a sweep has chosen.

    `extra` are the seconds that no claim before it has paid for.
    """

    claim: Claim
    tasks: list[Task]
    later: list[Task]
    extra: float = 0.0

    @property
    def keys(self) -> dict[Key, float]:
        """Seconds by step, over all tasks."""
        return {key: s for task in [*self.tasks, *self.later] for key, s in task.seconds.items()}


class Planner:
    """Plans claims over variants and seeds; the seconds of a step are counted once."""

    def __init__(self, runs: Path, variants: Sequence[str], seeds: int | None, jobs: int) -> None:
        self.runs, self.variants, self.seeds, self.jobs = runs, tuple(variants), seeds, jobs
        self.index = _index(runs)
        self._speeds: dict[str, tuple[calibrate.Speeds, float]] = {}

    def refresh(self) -> None:
        """See what has been grown since."""
        self.index = _index(self.runs)

    def seeds_of(self, claim: Claim, variant: str | None = None) -> range:
        """The seeds of a claim: those asked for, else its own; as many as it takes to agree in a
        world variant after the first."""
        own = claim.seeds if variant in (None, self.variants[0]) else min(claim.seeds, SECOND)
        return range(self.seeds or own)

    def plan(self, claim: Claim) -> Plan:
        """The tasks of a claim. Raises RegrowError where its arms differ in more than they may."""
        check(claim, recipes_of(claim))
        now: list[Place] = []
        later: list[Place] = []  # after a sweep has chosen
        for variant in self.variants:
            seeds = self.seeds_of(claim, variant)
            for arm in claim.arms.values():
                chosen = swept(claim, arm, self.runs, variant)
                if chosen is None:
                    tried = candidates(arm)
                    now += [place(claim, arm, variant, SWEEP_SEED, values) for values in tried]
                    half_way = tried[len(tried) // 2]
                    later += [place(claim, arm, variant, seed, half_way) for seed in seeds]
                else:
                    now += [place(claim, arm, variant, seed, chosen) for seed in seeds]
        return Plan(claim, self._tasks(now), self._tasks(later))

    def _tasks(self, places: Iterable[Place]) -> list[Task]:
        tasks: dict[str, Task] = {}
        for one in places:
            task = tasks.setdefault(one.run, Task(one, []))
            if one.node not in task.to:
                task.to.append(one.node)
        return [task for task in tasks.values() if self._lacks(task)]

    def _lacks(self, task: Task) -> bool:
        """Whether a run lacks a step; notes the seconds of those that no other run has either."""
        recipe, folder = task.place.resolve(), self.runs / task.place.run
        steps = [s for s in make_plan(recipe, folder, task.to) if s.state != "done"]
        steps = [step for step in steps if step.name != "report"]
        keys = {step.name: _key(Grown(recipe, folder), step.name) for step in steps}
        if left := [step for step in steps if keys[step.name] not in self.index]:
            speed = self._speed(task.place.recipe, recipe)
            seconds = calibrate.expected(recipe, folder, left, speed)
            task.seconds = {keys[step.name]: seconds[step.name] for step in left}
        return bool(steps)

    def _speed(self, name: str, recipe: Recipe) -> calibrate.Speeds:
        """Speeds of the recipe of this name, carried over to other shapes by their FLOPs."""
        if name not in self._speeds:
            plain = load_recipe(name)
            self.runs.mkdir(parents=True, exist_ok=True)
            speeds = calibrate.speeds(plain, self.runs, self.jobs)
            model, rate = next(iter(speeds.tokens_per_s.items()))
            self._speeds[name] = speeds, rate * _flops(plain, model)
        known, rate = self._speeds[name]
        rates = {model: rate / _flops(recipe, model) for model in recipe.models}
        return calibrate.Speeds(rates, known.precision, known.threads, known.busy)


def _flops(recipe: Recipe, model: str) -> float:
    """FLOPs of training on a token."""
    shape = recipe.models[model].config(recipe.corpus.tokenizer.vocabulary)
    return float(shape.flops_per_token())


def _index(runs: Path) -> dict[Key, Path]:
    """Every finished step and measurement of the claim runs, and of the trees beside them."""
    found: dict[Key, Path] = {}
    for path in [*sorted(runs.parent.glob("*/*/edge.json")), *sorted(runs.glob("*/*/edge.json"))]:
        folder = path.parent
        edge = read_edge(folder)
        if edge is None or folder.is_symlink():
            continue
        found[folder.name, edge.fingerprint] = folder
        if edge.measured:
            found[folder.name + MEASURE, edge.measured["fingerprint"]] = folder
    return found


def _key(grown: Grown, step: str) -> Key:
    return step, grown.inputs(step).fingerprint


def link_shared(runs: Path, task: Task, index: Mapping[Key, Path]) -> list[str]:
    """Put links into a run's folder for the steps that another run has grown alike.

    A node that was measured alike as well goes before one that was not.
    """
    recipe, folder = task.place.resolve(), runs / task.place.run
    folder.mkdir(parents=True, exist_ok=True)
    linked = []
    needed = [n for to in task.to for n in reversed(lineage(recipe.parents(), to))]
    for name in dict.fromkeys((*BEFORE, *needed)):
        if (folder / name).is_symlink() and not (folder / name).exists():
            (folder / name).unlink()  # what it led to was removed
        grown = Grown(recipe, folder)
        found = index.get(_key(grown, name))
        if name not in BEFORE:
            found = index.get(_key(grown, name + MEASURE), found)
        if found is not None and not (folder / name).exists():
            (folder / name).symlink_to(os.path.relpath(found, folder))
            linked.append(name)
    return linked


def within(plans: Sequence[Plan], budget: float | None, jobs: int) -> tuple[list[Plan], list[Plan]]:
    """The plans in the order of cheapest first, shared work paid once, and those beyond `budget`.

    Seconds are by the clock, with `jobs` runs side by side.
    """
    left, paid = list(plans), set[Key]()
    chosen: list[Plan] = []
    spent = 0.0
    while left:
        for plan in left:
            plan.extra = sum(s for key, s in plan.keys.items() if key not in paid) / jobs
        plan = min(left, key=lambda plan: plan.extra)
        if budget is not None and spent + plan.extra > budget:
            break
        left.remove(plan)
        chosen.append(plan)
        paid |= plan.keys.keys()
        spent += plan.extra
    return chosen, left


def grow(
    plans: Sequence[Plan],
    runs: Path,
    jobs: int,
    say: Callable[[str], None],
    until: float | None = None,
) -> None:
    """Grow the tasks of the plans, side by side as far as `jobs` workers allow.

    A run waits while another grows something that it needs too. After `until` (time.monotonic) no
    run is begun. Raises RegrowError with the last line of a run that failed; the others end first.
    """
    waiting = list(
        {task.place.run: task for plan in plans for task in _merged(plan, plans)}.values()
    )
    index = _index(runs)
    for task in [task for task in waiting if not task.seconds]:
        link_shared(runs, task, index)
        waiting.remove(task)
    whole, began, ended = len(waiting), time.monotonic(), 0
    running: dict[subprocess.Popen[bytes], Task] = {}
    trouble: list[str] = []
    try:
        while waiting or running:
            late = until is not None and time.monotonic() > until
            if (late or trouble) and waiting:
                waiting.clear()
                continue
            busy = {key for task in running.values() for key in task.seconds}
            ready = next((t for t in waiting if not busy & t.seconds.keys()), None)
            taken = sum(_width(task, jobs) for task in running.values())
            if ready is not None and taken + _width(ready, jobs) <= jobs:
                waiting.remove(ready)
                running[_start(runs, ready, jobs)] = ready
                say(f"{ended + len(running)}/{whole} {ready.place.run}: {', '.join(ready.to)}")
                continue
            for process in [process for process in running if process.poll() is not None]:
                task = running.pop(process)
                ended += 1
                for other in waiting:  # which find it done
                    other.seconds = {
                        k: v for k, v in other.seconds.items() if k not in task.seconds
                    }
                if process.returncode:
                    trouble.append(f"{task.place.run}: {_last_line(_log(runs, task))}")
                else:
                    took = time.monotonic() - began
                    say(f"done {ended}/{whole} {task.place.run} after {took / 60:.0f} min")
            time.sleep(0.2)
    finally:
        for process in running:
            process.send_signal(signal.SIGINT)
        for process in running:
            process.wait()
    if trouble:
        raise RegrowError(trouble[0])


def _merged(plan: Plan, plans: Sequence[Plan]) -> Iterator[Task]:
    """A plan's tasks, each with the targets that any plan has in that run."""
    for task in plan.tasks:
        same = [t for other in plans for t in other.tasks if t.place.run == task.place.run]
        to = list(dict.fromkeys(node for one in same for node in one.to))
        yield Task(task.place, to, {k: s for one in same for k, s in one.seconds.items()})


def _width(task: Task, jobs: int) -> int:
    """Workers that a run keeps busy: one for each of its targets."""
    return min(jobs, len(task.to))


def _start(runs: Path, task: Task, jobs: int) -> subprocess.Popen[bytes]:
    link_shared(runs, task, _index(runs))
    command = [sys.executable, "-m", "regrow.cli", "run", *task.place.words, "--json",
               "--jobs", str(jobs), "--runs", str(runs)]  # fmt: skip
    for node in task.to:
        command += ["--to", node]
    log = _log(runs, task)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)


def _log(runs: Path, task: Task) -> Path:
    return runs / "logs" / f"{task.place.run}.txt"


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
