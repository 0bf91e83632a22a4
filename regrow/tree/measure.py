"""Single steps by hand, in this process: a report, a node's scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regrow.errors import RegrowError
from regrow.files import lock, read_json
from regrow.progress import Progress
from regrow.tree.live import told
from regrow.tree.plan import MEASURE, Grown
from regrow.tree.runs import find_node, recipe_of
from regrow.tree.worker import work

if TYPE_CHECKING:
    from regrow.evaluate.taskitems import TaskSettings


def refresh_report(run: Path) -> Path:
    """Write a run's report where it is out of date; returns its folder."""
    with lock(run):
        if Grown(recipe_of(run), run).state("report") != "done":
            with shown("report") as say:
                work(run, "report", say)
    return run / "report"


def measure_again(runs: Path, node: str, run: str | None) -> list[dict[str, Any]]:
    """Measure a node of a run anew; returns the rows of its scores.json."""
    folder = find_node(runs, node, run)
    if not (folder / "edge.json").is_file():
        raise RegrowError(f"{folder} is no node of a run; take it in with `regrow import`")
    with lock(folder.parent), shown(folder.name) as say:
        work(folder.parent, folder.name + MEASURE, say)
    rows: list[dict[str, Any]] = read_json(folder / "scores.json")
    return rows


def measure_abilities(
    runs: Path,
    node: str,
    run: str | None,
    names: Sequence[str],
    *,
    limit: int | None = None,
    every_template: bool = False,
) -> list[dict[str, Any]]:
    """Measure these abilities beside what was measured before; returns their rows of scores.json.

    `limit` is the number of items a cell, the recipe's without it.
    """
    from regrow.evaluate.measure import MeasureSettings, measure
    from regrow.tree.stages.outcome import heldout

    folder = find_node(runs, node, run)
    recipe = recipe_of(folder.parent)
    settings = MeasureSettings(
        items=limit or recipe.abilities.items,
        templates="all" if every_template else recipe.abilities.templates,
        seed=recipe.seed,
        heldout=heldout(recipe, folder.parent),
        beside=True,
    )
    with lock(folder.parent), shown(folder.name) as say:
        found = measure(folder, folder.parent / "world" / "items", names, settings, _bar(say))
    return [score.to_row() for score in found if score.ability in names]


def _bar(say: Callable[[dict[str, Any]], None]) -> Progress:
    """Progress that a display's `say` shows."""

    def progress(done: float, total: float, **metrics: Any) -> None:
        say({"done": done, "total": total, "metrics": metrics})

    return progress


def measure_tasks(
    runs: Path, node: str, run: str | None, names: Sequence[str], settings: TaskSettings
) -> list[dict[str, Any]]:
    """Measure published benchmarks on a node, or on any folder of a model; rows of results.

    Names that begin with `harness:` are tasks of lm-evaluation-harness.
    """
    from regrow.evaluate.taskfile import load_task
    from regrow.evaluate.taskrun import run_tasks

    ours = [load_task(name) for name in names if not name.startswith("harness:")]
    theirs = [name.removeprefix("harness:") for name in names if name.startswith("harness:")]
    folder = find_node(runs, node, run)
    rows: list[dict[str, Any]] = []
    with lock(folder / "tasks"):
        if ours:
            with shown(folder.name) as say:
                rows += [one.to_row() for one in run_tasks(folder, ours, settings, _bar(say))]
        if theirs:
            from regrow.evaluate.harness import run_harness

            rows += run_harness(folder, theirs, settings)
    return rows


@contextmanager
def shown(name: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A progress bar on standard error that takes a worker's messages."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    phase = ""
    with Bar(console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)

        def say(message: dict[str, Any]) -> None:
            nonlocal phase
            if "done" in message:
                now = message["metrics"].get("phase", "")
                if now != phase and not console.is_terminal:  # a log has no bar
                    console.print(f"{name}: {now}", highlight=False)
                phase = now
                words = f"{name}  {told(message['metrics'])}".rstrip()
                bar.update(
                    task, completed=message["done"], total=message["total"], description=words
                )

        yield say
