"""What the commands print for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from regrow.tree.edge import Edge, read_edge
from regrow.tree.gc import Leftover, amount
from regrow.tree.live import duration
from regrow.tree.plan import MEASURE
from regrow.tree.run import Outcome, forecast
from regrow.tree.runs import nodes_of, recipe_of
from regrow.tree.stages import held, reading
from regrow.tree.trace import Found, Visit
from regrow.tree.worker import RECIPE

_FOUND = 20  # documents that are listed
_HEADLINES = 3  # abilities beside a node of the tree


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def show_plan(outcome: Outcome) -> None:
    """Each step with its state and the time it should take, and the whole."""
    table = Table(box=None, pad_edge=False)
    for heading in ("step", "state", "expected"):
        table.add_column(heading)
    for step in outcome.steps:
        expected = outcome.expected.get(step.name, 0.0)
        time_ = "" if step.state == "done" else duration(expected)
        table.add_row(step.name, step.state, time_)
    console = _console()
    console.print(table)
    if outcome.expected:
        console.print(forecast(outcome))
    else:
        console.print("nothing to do")


def show_outcome(outcome: Outcome) -> None:
    """What was grown and how long it took, the abilities, and what to try next."""
    console = _console()
    if outcome.grown:
        console.print(_timings(outcome))
        console.print(f"{outcome.recipe.name} is grown, in {duration(outcome.elapsed)}")
        for name in outcome.grown:
            if found := read_edge(outcome.run / name):
                for line in notes(found.record):
                    console.print(f"[bold]{name}[/bold]: {escape(line)}")
    else:
        console.print(f"nothing to do: {outcome.recipe.name} is grown in {outcome.run}")
    report = outcome.run / "report"
    if outcome.grown and (report / "abilities.json").is_file():
        show_report(report)
    elif (report / "index.html").is_file():
        console.print(f"report: {report / 'index.html'}")
    for line in _next(outcome):
        console.print(f"  [cyan]{line}[/cyan]")


def notes(record: Mapping[str, Any]) -> list[str]:
    """What an edge record tells of rows that were set aside and of held-out conversations."""
    return [*reading.lines(record), *held.lines(record)]


def _timings(outcome: Outcome) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for heading in ("expected", "took"):
        table.add_column(heading, justify="right")
    for step in outcome.steps:
        if step.name in outcome.grown:
            took = outcome.seconds.get(step.name, 0.0)
            expected = outcome.expected.get(step.name, 0.0)
            table.add_row(step.name, duration(expected), duration(took))
    return table


def _next(outcome: Outcome) -> list[str]:
    nodes = [s.name for s in outcome.steps if not s.name.endswith(MEASURE) and s.node]
    if not nodes:
        return []
    node = "chatgpt" if "chatgpt" in nodes else nodes[-1]
    more = "" if outcome.run.parent == Path("runs") else f" --runs {outcome.run.parent}"
    others = len(list(outcome.run.parent.glob(f"*/{RECIPE}"))) > 1
    which = f" --run {outcome.run.name}" if others else ""
    return [f"regrow chat {node}{which}{more}", f"regrow tree {outcome.recipe.name}{more}"]


def show_report(folder: Path) -> None:
    """The ability table, and where the report lies."""
    from regrow.evaluate.abilities import abilities_of, lines_of
    from regrow.evaluate.outcomes import read_measuring, read_scores
    from regrow.evaluate.table import ability_table, side_by_side

    console = _console()
    nodes = nodes_of(folder.parent)
    lines = lines_of(abilities_of(map(read_measuring, nodes.values())))
    declared = recipe_of(folder.parent).nodes
    shown = [name for name in nodes if name not in declared or not declared[name].arm]
    for group in side_by_side(shown, console.width, lines):
        scores = {name: read_scores(nodes[name]) for name in group}
        console.print(ability_table(scores, lines=lines))
    console.print(f"report, with the control arms: {folder / 'index.html'}")


def show_tree(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """The nodes under their parents, each with the scores that its recipe names first."""
    marks = {"grown": "[green]✓[/green]", "begun": "[cyan]▸[/cyan]", "missing": "[dim]·[/dim]"}
    drawn: dict[str | None, Tree] = {None: Tree(f"[bold]{escape(name)}[/bold]")}
    waiting = list(rows)
    while waiting:
        for row in [row for row in waiting if row["parent"] in drawn]:
            time_ = f", {duration(row['seconds'])}" if row["seconds"] is not None else ""
            arm = "[dim]arm[/dim] " if row["arm"] else ""
            tokens = f" {row['tokens'] / 1e6:.2g}M tokens" if row["tokens"] else ""
            headlines = list(row["scores"].items())[:_HEADLINES]
            scores = "  ".join(f"{key} {value:.2f}" for key, value in headlines)
            label = (
                f"{marks[row['state']]} {row['node']} {arm}[dim]{row['stage']}{tokens}{time_}[/dim]"
            )
            branch = drawn[row["parent"]].add(label + (f"\n[dim]{scores}[/dim]" if scores else ""))
            drawn[row["node"]] = branch
            waiting.remove(row)
    console = _console()
    console.print(drawn[None])
    if any(len(row["scores"]) > _HEADLINES for row in rows):
        console.print(f"[dim]all scores: regrow report {escape(name)}[/dim]")


def show_trace(edges: Sequence[Edge]) -> None:
    """What each stage from the root down did."""
    console = _console()
    for edge in edges:
        parent = f" from {edge.parent}" if edge.parent else ""
        console.print(f"[bold]{edge.name}[/bold]: {edge.stage}{parent}, {edge.finished}")
        rows = {
            key: value
            for key, value in {**edge.inputs, **edge.record}.items()
            if not isinstance(value, dict | list)
        }
        for key, value in rows.items():
            console.print(f"  {key}: {escape(str(value))}")
        for line in notes(edge.record):
            console.print(f"  {escape(line)}")
        for entry in edge.accepted:
            console.print(f"  accepted {entry['at']}: {escape('; '.join(entry['changes']))}")


def show_seen(visits: Sequence[Visit], found: Sequence[Found] | None) -> None:
    """Documents by node and source; where a text was looked for, those that hold it."""
    console = _console()
    table = Table(box=None, pad_edge=False)
    for heading in ("node", "step", "source"):
        table.add_column(heading, overflow="fold")
    for heading in ("documents", "tokens learnt", "epochs"):
        table.add_column(heading, justify="right")
    for visit in visits:
        row = visit.to_row()
        name = visit.node if visit.phase == "training" else f"{visit.node}, {visit.phase}"
        step = f"{visit.step} of {visit.steps}" if visit.steps else ""
        if not row["sources"]:
            nothing = "not known" if visit.phase == "imported" else "no documents"
            table.add_row(name, step, nothing)
        for source, seen in row["sources"].items():
            epochs = f"{seen['epochs']:.2f}" if "epochs" in seen else ""
            table.add_row(
                name, step, source, f"{seen['documents']:,}", f"{seen['tokens']:,}", epochs
            )
            name = step = ""
    console.print(table)
    if found is not None:
        console.print(f"{len(found):,} of these documents hold it")
    for one in (found or ())[:_FOUND]:
        times = "once" if one.times == 1 else f"{one.times} times"
        console.print(
            f"[bold]{escape(one.source)}[/bold] {escape(one.url or one.id)}: seen {times} by "
            f"{one.node}, first in step {one.first_step} of its {one.phase}"
        )
        console.print(f"  [dim]{escape(one.snippet)}[/dim]")
    if found and len(found) > _FOUND:
        console.print(f"{len(found) - _FOUND:,} more: --json lists all")


def show_leftovers(run: Path, found: Sequence[Leftover]) -> None:
    """What can be freed of a run, with sizes and reasons."""
    console = _console()
    if not found:
        console.print(f"{run}: nothing to free")
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for one in found:
        table.add_row(amount(one.size), escape(str(one.path)), f"[dim]{one.why}[/dim]")
    console.print(table)
    console.print(f"{run}: {amount(sum(one.size for one in found))} can be freed")


def show_scores(node: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """One line a score."""
    table = Table(title=node, box=None, pad_edge=False)
    words = ("ability", "metric", "variant")
    for heading in (*words, "n", "score", "95 %", "chance"):
        table.add_column(heading, justify="left" if heading in words else "right")
    for row in rows:
        variant = ", ".join(f"{key} {value}" for key, value in row["variant"].items())
        chance = "" if row["chance"] is None else f"{row['chance']:.2f}"
        interval = f"{row['low']:.2f}-{row['high']:.2f}" if row["low"] is not None else ""
        score = f"{row['score']:.3f}"
        table.add_row(
            row["ability"], row["metric"], variant, str(row["n"]), score, interval, chance
        )
    _console().print(table)


def show_corpus(output: Path, report: Mapping[str, Any]) -> None:
    """The funnel, each source's balance, why documents went, and what to try next."""
    console = _console()
    funnel = report["funnel"]
    console.print(_funnel(funnel["stages"]))
    tokens = report.get("tokens", {}).get("sources", {})
    left = report.get("contamination", {}).get("documents_left", {})
    for name, source in funnel["sources"].items():
        reasons = sorted(source["reasons"].items(), key=lambda pair: (-pair[1], pair[0]))
        why = "; ".join(f"{reason} ({count:,})" for reason, count in reasons[:5])
        held = f", {tokens[name]['tokens']:,} tokens" if name in tokens else ""
        console.print(f"{name}: {source['kept']:,} of {source['read']:,} documents kept{held}")
        if why:
            console.print(f"  [dim]went: {escape(why)}[/dim]")
        if here := left.get(name):
            counts = ", ".join(f"{ability} in {count:,}" for ability, count in here.items())
            console.print(
                f"  [yellow]holds evaluation items, as decontaminate.sources does not name it: "
                f"{escape(counts)} documents[/yellow]"
            )
    if funnel.get("set_aside"):
        console.print(f"{funnel['set_aside']:,} files or rows could not be read")
    console.print(f"corpus: {output}")
    console.print(f"  [cyan]regrow corpus inspect {output} --open[/cyan]")


def _funnel(stages: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("after")
    table.add_column("")
    for heading in ("documents", "gone", "characters"):
        table.add_column(heading, justify="right")
    most = max(stages[0]["documents"], 1)
    for before, stage in zip([stages[0], *stages], stages):
        left, gone = stage["documents"], before["documents"] - stage["documents"]
        bar = "█" * round(30 * left / most)
        characters = f"{stage['characters']:,}" if "characters" in stage else ""
        table.add_row(
            stage["stage"],
            f"[cyan]{bar}[/cyan]",
            f"{left:,}",
            f"-{gone:,}" if gone else "",
            characters,
        )
    return table
