"""`regrow reward`: a reward model for a node. Everything heavy is imported where it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from regrow.cli_corpus import print_json


def reward(
    node: Annotated[str, typer.Argument(help="A node's name, or its folder.")],
    comparisons: Annotated[
        list[Path],
        typer.Argument(metavar="FILE ...", help="Comparisons, or ratings of `regrow rate`."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", help="A new folder; `reward` in the node's if none.")
    ] = None,
    prompts: Annotated[int, typer.Option(min=8, help="At most so many prompts.")] = 2048,
    tokens: Annotated[
        int, typer.Option(min=1, help="Leave out longer prompts with answers.")
    ] = 512,
    rate: Annotated[float, typer.Option(min=0.0, help="Learning rate of AdamW.")] = 1e-5,
    rows: Annotated[int, typer.Option(min=1, help="Prompts a step.")] = 16,
    epochs: Annotated[int, typer.Option(min=1, help="InstructGPT took one.")] = 1,
    head: Annotated[
        bool, typer.Option("--head", help="Fit the head alone: one pass, no rate, no epochs.")
    ] = False,
    held: Annotated[float, typer.Option(min=0.01, max=0.9, help="Share to test on.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the head, the order and what is held out.")] = 0,
    run: Annotated[
        str | None, typer.Option("--run", help="The run's name; the last used otherwise.")
    ] = None,
    runs: Annotated[Path, typer.Option("--runs", help="The folder of all runs.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Fit a reward model to comparisons, and test it on prompts put aside, before and after.

    Afterwards `regrow chat NODE --best-of 4` answers with what it likes best. Interrupted, the same
    command goes on.

    \b
    Examples:
      regrow reward smollm preferences.jsonl.gz
      regrow reward smollm a.jsonl b.jsonl --prompts 600 --tokens 256 --epochs 2
      regrow reward smollm a.jsonl --head
      regrow reward davinci-instruct-beta ratings-davinci-instruct-beta.jsonl --output taste
    """
    from regrow.tree.runs import find_node

    folder = find_node(runs, node, run)
    from rich.console import Console
    from rich.progress import Progress

    from regrow.tree.rewarding import fit_node
    from regrow.tree.settings import RewardSettings

    settings = RewardSettings(
        rows=rows, rate=rate, epochs=epochs, prompts=prompts, fitted="head" if head else "all"
    )
    with Progress(console=Console(stderr=True), transient=True, disable=json) as bar:
        task = bar.add_task("testing", total=None)

        def shown(done: float, total: float, **metrics: Any) -> None:
            loss = f"loss {metrics['loss']:.3f}" if "loss" in metrics else "fitting"
            bar.update(task, completed=done, total=total, description=loss)

        found = fit_node(
            folder, comparisons, output or folder / "reward", settings,
            tokens=tokens, held=held, seed=seed, progress=shown,
        )  # fmt: skip
    if json:
        print_json(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("held out", "prompts", "pairs", "before", "after", "raters agree"):
        table.add_column(heading, justify="left" if heading == "held out" else "right")
    first = {"all": found} if "by_file" not in found else {**found["by_file"], "all": found}
    for name, after in first.items():
        before = found["before"] if name == "all" else found["before"]["by_file"][name]
        table.add_row(
            name, str(after["held_prompts"]), str(after["pairs"]), _figure(before, "accuracy"),
            _figure(after, "accuracy"), _figure(after, "agreement"),
        )  # fmt: skip
    console = Console(highlight=False)
    console.print(table)
    told = f"learnt from {found['prompts']} prompts in {found['seconds']:.0f} s"
    if found["left_out"]:
        told += f"; {found['left_out']} were too long"
    if "calibration_error" in found:
        told += f"; calibration error {found['calibration_error']:.3f}"
    console.print(told, style="dim", markup=False)


def _figure(found: dict[str, Any], name: str) -> str:
    if found.get(name) is None:
        return "–"
    return f"{found[name]:.3f} ± {found[f'{name}_error']:.3f}"
