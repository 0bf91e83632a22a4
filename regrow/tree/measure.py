"""Single steps by hand, in this process: a report, a node's scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regrow.errors import RegrowError
from regrow.files import lock, read_json
from regrow.progress import Progress
from regrow.tree.live import told
from regrow.tree.plan import MEASURE, Grown
from regrow.tree.runs import find_node, recipe_of
from regrow.tree.worker import RECIPE, work

if TYPE_CHECKING:
    from regrow.evaluate.taskitems import TaskSettings
    from regrow.tree.recipe import Recipe


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
    data: Path = Path("data"),
    limit: int | None = None,
    every_template: bool = False,
    unsafe_code: bool = False,
) -> list[dict[str, Any]]:
    """Measure these abilities beside what was measured before; returns their rows of scores.json.

    Names that end in .yaml are abilities of one's own, over rows in the folder `data`. `limit` is
    the number of items a cell, the recipe's without it, and the number of items of one's own, all
    of them without it. A folder that is no node of a run has no others. Raises RegrowError where an
    ability of the recipe is asked in another way than the recipe says: its scores would be lost.
    """
    from regrow.evaluate.measure import MeasureSettings, measure
    from regrow.evaluate.ownability import own_ability
    from regrow.tree.stages.outcome import heldout

    own = tuple(name for name in names if name.endswith((".yaml", ".yml")))
    asked = {own_ability(path)[1].name for path in own}
    named = [name for name in names if name not in own]
    folder = find_node(runs, node, run)
    settings = MeasureSettings(
        templates="all" if every_template else "split", own=own, data=data, most=limit,
        unsafe_code=unsafe_code, beside=True,
    )  # fmt: skip
    in_run = (folder.parent / RECIPE).is_file()
    if named or in_run:
        recipe = recipe_of(folder.parent)
        spec = recipe.abilities
        own_kept = asked and asked & {own_ability(path)[1].name for path in spec.own}
        _refuse_loss(recipe, own_kept | {*named} & {*spec.names}, limit, every_template)
        settings = replace(
            settings, items=limit or spec.items, most=spec.items if own_kept else limit,
            seed=recipe.seed, heldout=heldout(recipe, folder.parent),
        )  # fmt: skip
        if not every_template:
            settings = replace(settings, templates=spec.templates)
    held = folder.parent if in_run else folder / "tasks"
    with lock(held), shown(folder.name) as say:
        found = measure(folder, folder.parent / "world" / "items", named, settings, _bar(say))
    return [score.to_row() for score in found if score.ability in {*named, *asked}]


def _refuse_loss(recipe: Recipe, kept: set[str], limit: int | None, every: bool) -> None:
    """Refuse to put other outcomes in the place of those that the tree's own measuring gave."""
    spec = recipe.abilities
    otherwise = limit not in (None, spec.items) or (every and spec.templates != "all")
    if kept and otherwise:
        raise RegrowError(
            f"the tree measures {sorted(kept)[0]} on {spec.items} items a cell with templates: "
            f"{spec.templates}, and these scores would be lost; leave out --limit and "
            "--all-templates, or set abilities.items and abilities.templates in the recipe"
        )


def _bar(say: Callable[[dict[str, Any]], None]) -> Progress:
    """Progress that a display's `say` shows."""

    def progress(done: float, total: float, **metrics: Any) -> None:
        say({"done": done, "total": total, "metrics": metrics})

    return progress


def helm_of(runs: Path, node: str, run: str | None) -> dict[str, tuple[str, str]]:
    """HELM's kinds of metric to (figure, what it is of), from what was measured of a node."""
    from regrow.evaluate.comparison import read_node
    from regrow.evaluate.helm import columns

    folder = find_node(runs, node, run)
    found = columns(read_node(folder, {}))
    if not found:
        raise RegrowError(f"{folder.name} is not measured yet; run `regrow eval {node}`")
    return {name: (cell.value, cell.told) for name, cell in found.items()}


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
