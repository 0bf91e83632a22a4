"""The steps after the nodes: measuring each, and the report on all; and imported nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.tree.settings import ImportSettings
from regrow.tree.stage import StageContext


def measure_node(context: StageContext) -> dict[str, Any]:
    """Ask the node every item of the recipe's abilities."""
    from regrow.evaluate.measure import MeasureSettings, measure

    abilities = context.recipe.abilities
    settings = MeasureSettings(items=abilities.items, seed=context.seed)
    scores = measure(
        context.folder, context.world / "items", abilities.names, settings, context.progress
    )
    return {"scores": len(scores)}


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
