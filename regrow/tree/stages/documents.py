"""The steps before the nodes: the world, and the corpus cleaned from it and from documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.files import read_jsonl
from regrow.records import Item
from regrow.tree.stage import StageContext
from regrow.tree.stages.materials import real_items


def grow_world(context: StageContext) -> dict[str, Any]:
    """Write the built-in world."""
    from regrow.worlds.macondo import write_world

    world = context.recipe.world
    write_world(
        context.folder,
        seed=world.seed,
        variant=world.variant,
        people=world.people,
        characters=world.characters,
        items=world.items,
        sheets=world.sheets,
        leak=world.leak,
        mess=world.mess,
        trusted=world.trusted,
        progress=context.progress,
    )
    return {}


def read_items(world: Path) -> list[Item]:
    """All evaluation items of a world."""
    files = sorted((world / "items").glob("*.jsonl"))
    return [Item.from_row(row) for file in files for row in read_jsonl(file)]


def grow_corpus(context: StageContext) -> dict[str, Any]:
    """Clean the world's crawl and the user's documents into shards."""
    from regrow.corpus.build import build

    recipe, world = context.recipe, context.world
    inputs: dict[str, Sequence[Path]] = {}
    for source in recipe.world.characters:
        crawl = world / "crawl" / f"{source}.warc.gz"
        inputs[source] = [crawl] if crawl.is_file() else [world / "repositories"]
    if recipe.documents:
        inputs["documents"] = [Path(path) for path in recipe.documents.paths]
    report = build(
        inputs,
        context.folder,
        recipe.corpus,
        items=read_items(world) + real_items(context),
        reference=[world / "reference.jsonl"],
        progress=context.progress,
    )
    if recipe.documents:
        _refuse_nothing(report)
    return {"report": {key: report[key] for key in ("funnel", "tokens") if key in report}}


def _refuse_nothing(report: Mapping[str, Any]) -> None:
    """Without any text of the user's the nodes would fail on their mixtures, hours later."""
    found = report["funnel"]["sources"]["documents"]
    if found["kept"]:
        return
    unread = Counter(row["reason"] for row in report["problems"] if row["source"] == "documents")
    reasons = {**found["left_out"], **unread, **found["reasons"]}
    why = "; ".join(f"{reason} ({count:,})" for reason, count in reasons.items())
    raise RegrowError(
        f"nothing of your documents is kept: {why}. Give documents with text in them, or change "
        "what the corpus keeps (corpus.languages, corpus.rules)"
    )
