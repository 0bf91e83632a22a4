"""The steps after the nodes: measuring each, and the report on all; and imported nodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regrow.errors import RegrowError
from regrow.files import read_json, sha256_file, write_json
from regrow.tree.recipe import Recipe
from regrow.tree.settings import ImportSettings
from regrow.tree.stage import StageContext
from regrow.tree.stages.materials import data_files

if TYPE_CHECKING:
    from regrow.evaluate.measure import MeasureSettings


def measure_node(context: StageContext) -> dict[str, Any]:
    """Ask the node every item of the recipe's abilities, and of its benchmarks; and before that
    its models on the way some of them."""
    from regrow.evaluate.measure import MeasureSettings, measure

    abilities, found = context.recipe.abilities, data_files(context, "benchmarks")
    files = tuple(found[1]) if found else ()
    names = dict.fromkeys((*abilities.names, *(["benchmarks"] if files else [])))
    settings = MeasureSettings(
        items=abilities.items,
        templates=abilities.templates,
        benchmarks=files,
        own=abilities.own,
        data=Path(abilities.data),
        most=abilities.items,
        seed=context.seed,
        heldout=heldout(context.recipe, context.run),
    )
    items = context.world / "items"
    on_the_way = _measure_on_the_way(context, items, settings)
    scores = measure(context.folder, items, tuple(names), settings, context.progress)
    return {"scores": len(scores), **({"on_the_way": on_the_way} if on_the_way else {})}


def _measure_on_the_way(context: StageContext, items: Path, settings: MeasureSettings) -> list[str]:
    """Measure the models that were kept on the way, each once: what was finished before this
    process began is left as it is. Returns the shares of the stage."""
    from regrow.evaluate.measure import measure, speaks_chat
    from regrow.evaluate.passage import MEASURED, kept_at

    names = context.recipe.abilities.on_the_way
    kept = kept_at(context.folder)
    for _, folder in kept:
        mark, weights = folder / MEASURED, folder / "model.safetensors"
        before = read_json(mark) if mark.is_file() else {}
        made_of = {
            # `regrow gc` frees the weights of what is measured
            "weights": sha256_file(weights) if weights.is_file() else before.get("weights"),
            "names": list(names),
            "items": settings.items,
            "templates": settings.templates,
            "seed": settings.seed,
            "heldout": context.recipe.abilities.heldout,
        }
        if before == made_of:
            continue
        if not weights.is_file():
            raise RegrowError(
                f"{weights} is gone, so it cannot be measured in another way; "
                f"--regrow {context.folder.name} makes it again"
            )
        own = replace(settings, benchmarks=(), own=(), chat=speaks_chat(context.folder))
        measure(folder, items, names, own, context.progress)
        write_json(mark, made_of)
    return [f"{share:g}" for share, _ in kept]


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
