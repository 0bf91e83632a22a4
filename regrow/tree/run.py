"""`regrow run`: from the words on the command line to a grown tree."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from regrow.errors import RegrowError
from regrow.files import lock, read_json, write_json
from regrow.tree import edge, schedule
from regrow.tree.execute import Execution, default_jobs
from regrow.tree.graph import nearest
from regrow.tree.live import choose_display, duration
from regrow.tree.load import load_recipe, recipe_names
from regrow.tree.plan import MEASURE, Step, accept, clear, make_plan
from regrow.tree.recipe import Recipe
from regrow.tree.worker import LOG_TO, RECIPE

_HOUR = 3600.0
_BUSY = 1.3  # times as long as alone, from which other work is told


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line."""

    words: Sequence[str] = ()  # recipe, paths of documents, key=value
    documents: Sequence[str] = ()
    to: Sequence[str] = ()
    start: Sequence[str] = ()
    accept: Sequence[str] = ()
    regrow: Sequence[str] = ()
    dry_run: bool = False
    jobs: int | None = None
    seed: int | None = None
    log_to: Sequence[str] = ()  # tensorboard, wandb
    runs: Path = Path("runs")
    quiet: bool = False  # the caller prints the answer itself


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `expected` are seconds by step; `seconds` those that the steps took."""

    recipe: Recipe
    run: Path
    steps: Sequence[Step]
    expected: dict[str, float]
    seconds: dict[str, float]
    elapsed: float
    jobs: int
    grown: Sequence[str] = ()  # steps that this call did
    precision: str = ""  # the number format that suits this machine, and why
    busy: float = 1.0  # how much longer steps take now, beside other work

    @property
    def expected_whole(self) -> float:
        """Seconds until all is done, with steps side by side."""
        return schedule.makespan(self.steps, self.expected, self.jobs)

    def to_row(self) -> dict[str, Any]:
        """For --json."""
        return {
            "recipe": self.recipe.name,
            "run": str(self.run),
            "grown": list(self.grown),
            "elapsed": round(self.elapsed, 2),
            "expected_seconds": round(self.expected_whole, 1),
            "steps": [
                {
                    "step": step.name,
                    "state": step.state,
                    "expected_seconds": round(self.expected.get(step.name, 0.0), 1),
                    "seconds": self.seconds.get(step.name),
                }
                for step in self.steps
            ],
        }


def ask(request: Request) -> Recipe:
    """The recipe that a request names, with everything it changes."""
    name, documents, overrides = _sort_words(request)
    recipe = load_recipe(name, overrides, documents)
    if request.seed is not None and request.seed != recipe.seed:
        changes = {"seed": request.seed, "name": f"{recipe.name}-seed-{request.seed}"}
        recipe = recipe.model_copy(update=changes)
    return recipe


def _sort_words(request: Request) -> tuple[str, list[str], list[str]]:
    """Recipe, documents and overrides. A shell may expand a pattern after --documents to paths."""
    overrides = [word for word in request.words if "=" in word]
    plain = [word for word in request.words if "=" not in word]
    documents = list(request.documents)
    recipes = [w for w in plain if w in recipe_names() or w.endswith((".yaml", ".yml"))]
    for word in plain:
        if word in recipes[:1]:
            continue
        if not documents or not Path(word).exists():
            raise RegrowError(
                f"there is no recipe {word!r}{nearest(word, recipe_names())}"
                if word not in recipes
                else f"one recipe at a time: {recipes[0]} or {word}"
            )
        documents.append(word)
    return (recipes or ["documents" if documents else "laptop"])[0], documents, overrides


def run(request: Request) -> Outcome:
    """Grow what is missing. Raises RegrowError with one line that names the fix."""
    recipe = ask(request)
    if request.log_to:
        from regrow.train.log import check

        check(request.log_to)
        os.environ[LOG_TO] = " ".join(request.log_to)  # the workers inherit it
    folder = request.runs / recipe.name
    jobs = request.jobs or default_jobs()
    plan = partial(
        make_plan, recipe, folder, request.to, request.start, request.regrow, request.accept
    )
    if request.dry_run:
        return _expect(recipe, folder, plan(), jobs)
    with lock(folder):
        steps = plan()  # all that can be wrong is told before anything is removed
        for name in accept(recipe, folder, request.accept):
            _say(request, f"{name} stands as it is; the change is noted in its edge.json")
        for name in clear(recipe, folder, request.regrow):
            _say(request, f"{name} will be grown anew")
        _keep_recipe(recipe, folder)
        if all(step.state == "done" for step in steps):
            return _outcome(recipe, folder, steps, {}, jobs)
        return _grow(request, recipe, folder, steps, jobs)


def _grow(request: Request, recipe: Recipe, folder: Path, steps: list[Step], jobs: int) -> Outcome:
    began = time.monotonic()
    if recipe.data and recipe.data.folder is None:
        _say(request, "without data.folder=PATH the built-in world's instructions, dialogues and "
             "ratings are used alone, and no published benchmark is measured")  # fmt: skip
    _say(request, "timing this machine ...")
    before = _expect(recipe, folder, steps, jobs)
    _say(request, forecast(before))
    display = choose_display(recipe.name, recipe.parents(), _out(request))
    Execution(folder, steps, jobs, before.expected, display)()
    grown = [step.name for step in steps if step.state != "done"]
    done = [replace(step, state="done") for step in steps]
    after = _outcome(recipe, folder, done, before.expected, jobs)
    return replace(after, grown=grown, elapsed=time.monotonic() - began)


def _expect(recipe: Recipe, folder: Path, steps: list[Step], jobs: int) -> Outcome:
    """What is to come: seconds by step, and the number format that suits this machine."""
    if all(step.state == "done" for step in steps):
        return _outcome(recipe, folder, steps, {}, jobs)
    from regrow.tree import calibrate

    speed = calibrate.speeds(recipe, folder.parent, jobs)
    seconds = calibrate.expected(recipe, folder, steps, speed)
    planned = _outcome(recipe, folder, steps, seconds, jobs)
    return replace(planned, precision=speed.precision, busy=speed.busy)


def _outcome(
    recipe: Recipe, run: Path, steps: Sequence[Step], expected: dict[str, float], jobs: int
) -> Outcome:
    seconds = {}
    for step in steps:
        found = edge.read_edge(run / step.name.removesuffix(MEASURE))
        if found and step.name.endswith(MEASURE):
            if found.measured:
                seconds[step.name] = found.measured["seconds"]
        elif found:
            seconds[step.name] = found.seconds
    return Outcome(recipe, run, steps, expected, seconds, 0.0, jobs)


def forecast(outcome: Outcome) -> str:
    """How long it will take here; above an hour, which recipe is smaller."""
    whole = outcome.expected_whole
    text = f"{outcome.recipe.name} should take about {duration(whole)} on {edge.machine()}"
    if whole > _HOUR:
        text += "; that is above an hour"
        if outcome.recipe.name != "seedling":
            text += ": `regrow run seedling` grows the same tree much smaller"
    if outcome.busy > _BUSY:
        text += (
            f"\nother work makes steps {outcome.busy:.1f} times as long now, which is not counted"
        )
    if outcome.precision:
        text += f"\ntraining in {outcome.precision}"
    return text


def _keep_recipe(recipe: Recipe, folder: Path) -> None:
    """Its file also tells when the run was last used."""
    row = recipe.model_dump(mode="json")
    path = folder / RECIPE
    if not path.is_file() or read_json(path) != row:
        write_json(path, row)
    else:
        path.touch()


def _say(request: Request, text: str) -> None:
    print(text, file=_out(request), flush=True)


def _out(request: Request) -> TextIO:
    return sys.stderr if request.quiet else sys.stdout
