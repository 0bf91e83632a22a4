"""`regrow eval`: the recipe's abilities again, or published benchmarks by task files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regrow.cli_corpus import print_json
from regrow.cli_options import refuse_others
from regrow.errors import RegrowError

if TYPE_CHECKING:
    from rich.console import Console

_PUBLISHED = 8  # published scores of a benchmark that are shown
_ALWAYS = ("run", "runs", "json")
_ABILITIES = ("abilities", "data", "limit", "all_templates", "unsafe_code")
_HARNESS = ("tasks", "data", "shots", "limit", "chat", "batch", "precision", "unsafe_code")


def evaluate(
    context: typer.Context,
    node: Annotated[
        str | None, typer.Argument(metavar="NODE", help="A node's name, or its folder.")
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="Tasks, by name or file, with commas; `list` tells them."),
    ] = None,
    abilities: Annotated[
        str | None,
        typer.Option(
            help="Abilities to measure beside those of the recipe, by name or file; `list` tells "
            "them."
        ),
    ] = None,
    data: Annotated[
        Path, typer.Option(envvar="REGROW_DATA", help="The folder with the files' data.")
    ] = Path("data"),
    shots: Annotated[
        int | None, typer.Option(min=0, help="Examples; the task's own number otherwise.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many items of each task or cell.")
    ] = None,
    all_templates: Annotated[
        bool, typer.Option("--all-templates", help="Ask each item in every template.")
    ] = False,
    typos: Annotated[bool, typer.Option("--typos", help="Misspell the questions.")] = False,
    chat: Annotated[
        bool, typer.Option("--chat", help="Put prompts into the node's chat template.")
    ] = False,
    batch: Annotated[int, typer.Option(min=1, help="Rows that run together.")] = 64,
    precision: Annotated[str, typer.Option(help="auto, bf16 or fp32.")] = "auto",
    unsafe_code: Annotated[
        bool, typer.Option("--unsafe-code", help="Run programs that no sandbox holds.")
    ] = False,
    helm: Annotated[
        bool,
        typer.Option("--helm", help="Show HELM's kinds of metric of what was measured before."),
    ] = False,
    run: Annotated[
        str | None, typer.Option("--run", help="The run's name; the last used otherwise.")
    ] = None,
    runs: Annotated[Path, typer.Option("--runs", help="The folder of all runs.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Measure a node: the abilities of its recipe anew, further ones, or published benchmarks.

    \b
    Examples:
      regrow eval text-davinci-003
      regrow eval davinci --abilities robustness,prompting
      regrow eval davinci --abilities my_ability.yaml --data my/items
      regrow eval --abilities list
      regrow eval davinci --helm
      regrow eval --tasks list
      regrow eval chatgpt --tasks gsm8k,arc --data my/benchmarks --limit 200
      regrow eval davinci --tasks my_task.yaml --shots 0 --json
      regrow eval davinci --tasks harness:my_task --data my/harness_tasks
    """
    _refuse_ignored(context, tasks, abilities, helm)
    if tasks == "list":
        _list(json)
        return
    if abilities == "list":
        _list_abilities(json)
        return
    if node is None:
        raise RegrowError("name a node to measure, as in `regrow eval chatgpt`")
    from regrow.tree import console
    from regrow.tree.measure import helm_of, measure_abilities, measure_again, measure_tasks

    if helm:
        _show_helm(node, helm_of(runs, node, run), json)
        return
    if tasks is None:
        if abilities is None:
            rows = measure_again(runs, node, run)
        else:
            rows = measure_abilities(
                runs, node, run, _names(abilities), data=data, limit=limit,
                every_template=all_templates, unsafe_code=unsafe_code,
            )  # fmt: skip
        if json:
            print_json(rows)
        else:
            console.show_scores(node, rows)
        return
    from regrow.evaluate.taskitems import TaskSettings

    settings = TaskSettings(
        data, shots, limit, all_templates, typos, chat, batch, precision, unsafe_code
    )  # fmt: skip
    rows = measure_tasks(runs, node, run, _names(tasks), settings)
    if json:
        print_json([{**row, "published": _published(row)} for row in rows])
    else:
        _show(node, rows)


def _refuse_ignored(
    context: typer.Context, tasks: str | None, abilities: str | None, helm: bool
) -> None:
    """Refuse options that the way of measuring asked for does not take."""
    if helm:
        told = "does not go with --helm, which shows what was measured before"
        refuse_others(context, ("helm", *_ALWAYS), told)
    elif abilities is not None:
        told = "does not go with --abilities, which takes --data, --limit, --all-templates and "
        refuse_others(context, (*_ABILITIES, *_ALWAYS), told + "--unsafe-code; --tasks takes more")
    elif tasks is None:
        told = (
            "goes with --tasks or --abilities; without them a node is measured as its recipe says"
        )
        refuse_others(context, _ALWAYS, told)
    elif any(name.startswith("harness:") for name in _names(tasks)):
        refuse_others(context, (*_HARNESS, *_ALWAYS), "is not for tasks of the harness")


def _show_helm(node: str, found: Mapping[str, tuple[str, str]], json: bool) -> None:
    """A line for each kind of metric: the figure, what it is of, and what it does not show."""
    from regrow.evaluate.helm import COLUMNS

    if json:
        print_json({name: {"value": value, "of": of} for name, (value, of) in found.items()})
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=node, box=None, pad_edge=False)
    for heading in ("kind", "figure", "what it is"):
        table.add_column(heading, overflow="fold", vertical="top")
    for name, told in COLUMNS.items():
        value, _ = found.get(name, ("–", ""))
        table.add_row(name, escape(value), f"[dim]{escape(told)}[/dim]")
    console = _console()
    console.print(table)
    if missing := [name for name in ("robustness", "fairness") if name not in found]:
        console.print(f"what is missing: regrow eval {node} --abilities {','.join(missing)}")


def _names(given: str) -> list[str]:
    return [name.strip() for name in given.split(",") if name.strip()]


def _list_abilities(json: bool) -> None:
    """What can be measured of a node of a run, and how it is asked."""
    from regrow.evaluate.abilities import ABILITIES

    if json:
        print_json([one.model_dump() for one in ABILITIES.values()])
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("ability", "metrics", "a base node is asked", "a tuned node is asked", "twins"):
        table.add_column(heading, overflow="fold")
    for one in ABILITIES.values():
        twins = dict.fromkeys(metric.twin for metric in one.metrics.values() if metric.twin)
        table.add_row(one.name, ", ".join(one.metrics), one.plain, one.as_tuned, "; ".join(twins))
    _console().print(table)


def _list(json: bool) -> None:
    """The tasks that come with regrow, or all of what they say."""
    from regrow.evaluate.taskfile import load_task, names

    found = [load_task(name) for name in names()]
    if json:
        print_json([task.model_dump() for task in found])
        return
    console = _console()
    for task in found:
        shots = task.shots.count + task.head_shots
        console.print(
            f"[bold]{task.name}[/bold]: {task.title}; {task.metric}, {shots}-shot "
            f"[dim]{', '.join(task.data)}[/dim]"
        )


def _published(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Published scores of the row's benchmark, or of its cell."""
    from regrow.evaluate.published import published_for

    return [one.to_row() for one in published_for(row["published_as"])]


def _show(node: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A line a score, then what was left out, then published scores with their settings."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=node, box=None, pad_edge=False)
    for heading in ("task", "template", "metric"):
        table.add_column(heading)
    for heading in ("shots", "n", "score", "95 %", "chance"):
        table.add_column(heading, justify="right")
    for row in rows:
        name = f"  {row['cell']}" if row["cell"] else row["task"]
        interval = "" if row["low"] is None else f"{row['low']:.3f}-{row['high']:.3f}"
        chance = "" if row["chance"] is None else f"{row['chance']:.3f}"
        table.add_row(
            escape(name), escape(row["template"]), row["metric"], str(row["shots"]), str(row["n"]),
            "" if row["score"] is None else f"{row['score']:.3f}", interval, chance,
        )  # fmt: skip
    console = _console()
    console.print(table)
    whole = [row for row in rows if not row["cell"]]
    for row in whole:
        chat = ", in its chat template" if row["chat"] else ""
        typos = ", questions misspelt" if row["typos"] else ""
        console.print(f"{row['task']}: {row['how']}{chat}{typos}")
        if row["not_run"]:
            of = row["not_run"] + row["n"]
            console.print(
                f"  [yellow]{row['not_run']} of {of} programs were not run[/yellow], e.g. "
                f"{escape(row['why_not'])}"
            )
        if row["shortened"]:
            console.print(f"  {row['shortened']} prompts were cut to the context")
    for name in dict.fromkeys(row["task"] for row in whole):
        row = next(row for row in whole if row["task"] == name)
        found = _published(row)
        if found:
            console.print(f"published, {name} (compare only like settings; here: {row['setting']})")
        for one in found[:_PUBLISHED]:
            console.print(
                f"  [dim]{escape(one['model'])} {one['score']:g}: {escape(one['setting'])} "
                f"({escape(one['source_title'])})[/dim]"
            )
        if len(found) > _PUBLISHED:
            console.print(f"  [dim]{len(found) - _PUBLISHED} more: --json lists all[/dim]")


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)
