"""The steps after the nodes: measuring each, and the report on all; and imported nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.tree.recipe import Recipe
from regrow.tree.settings import ImportSettings
from regrow.tree.stage import StageContext
from regrow.tree.stages.materials import data_files


def measure_node(context: StageContext) -> dict[str, Any]:
    """Ask the node every item of the recipe's abilities, and of its benchmarks."""
    from regrow.evaluate.measure import MeasureSettings, measure

    abilities, found = context.recipe.abilities, data_files(context, "benchmarks")
    files = tuple(found[1]) if found else ()
    names = dict.fromkeys((*abilities.names, *(["benchmarks"] if files else [])))
    settings = MeasureSettings(
        items=abilities.items,
        templates=abilities.templates,
        benchmarks=files,
        seed=context.seed,
        heldout=heldout(context.recipe, context.run),
    )
    scores = measure(
        context.folder, context.world / "items", tuple(names), settings, context.progress
    )
    return {"scores": len(scores)}


def heldout(recipe: Recipe, run: Path) -> Path:
    """The held-out text that the nodes of a run are measured on."""
    return run / recipe.abilities.heldout / "heldout.jsonl"


def write_report(context: StageContext) -> dict[str, Any]:
    """The report of the whole run."""
    from regrow.evaluate import report

    return {"page": report.write_report(context.run).name}


def import_folder(context: StageContext) -> dict[str, Any]:
    """Take a Hugging Face folder as a node."""
    from regrow.tree.imported import copy_folder

    if context.node is None or not isinstance(context.node.settings, ImportSettings):
        raise RegrowError(f"{context.name} names no folder to import")
    return copy_folder(Path(context.node.settings.folder), context.folder)
