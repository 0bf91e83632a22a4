"""Which evaluation items a node met in training.

The world keeps items out of training text by their keys and refuses to be written otherwise. Where
a recipe has some leaked on purpose (`world.leak`), every node that read one says so: in its edge
record, and in its model card and in those of all that descend from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regrow.files import read_jsonl
from regrow.tree.edge import Edge, read_edge
from regrow.tree.graph import lineage
from regrow.tree.recipe import Recipe

if TYPE_CHECKING:
    from regrow.corpus.reads import Tally
    from regrow.corpus.shards import Shards

_LEAKED = "leaked.jsonl"
#: The parts of a stage's record, beside the record itself, that tell what was read.
_PHASES = ("supervised", "dialogue_tuning", "ppo", "grpo")


def leaked_documents(run: Path) -> dict[str, list[str]]:
    """The ids of a run's documents that give items away, with the ids of those items."""
    from pyarrow import parquet

    path = run / "world" / _LEAKED
    if not path.is_file():
        return {}
    pages = {row["url"]: row["items"] for row in read_jsonl(path)}
    found: dict[str, list[str]] = {}
    for file in sorted((run / "corpus" / "documents").glob("*.parquet")):
        for row in parquet.read_table(file, columns=["id", "url"]).to_pylist():
            if row["url"] in pages:
                found[row["id"]] = pages[row["url"]]
    return found


def items_met(run: Path, shards: Shards, tallies: Mapping[str, Tally]) -> dict[str, Any]:
    """What the edge record tells of leaked items among the documents that were read."""
    leaked = leaked_documents(run)
    if not leaked:
        return {}
    items: set[str] = set()
    documents = 0
    for source in tallies.keys() & set(shards.sources):
        ids = shards.document_ids(source)
        held = [leaked[ids[n]] for n in tallies[source].documents.tolist() if ids[n] in leaked]
        documents += len(held)
        items.update(item for own in held for item in own)
    by_ability = Counter(item.partition("-")[0] for item in items)
    return {"leaked": {"documents": documents, "items": len(items),
                       "abilities": dict(sorted(by_ability.items()))}}  # fmt: skip


def lines(recipe: Recipe, run: Path, edge: Edge) -> list[str]:
    """What a model card tells of evaluation items in the training of a node and its forebears."""
    if edge.stage == "import":
        return []
    told = []
    for name in reversed(lineage(recipe.parents(), edge.name)):
        own = edge if name == edge.name else read_edge(run / name)
        met = _met(own.record) if own else None
        if met:
            what = ", ".join(f"{ability} {count}" for ability, count in met["abilities"].items())
            who = "It" if name == edge.name else f"Its forebear `{name}`"
            told.append(
                f"**{who} met {met['items']} evaluation items in training** ({what}; on "
                f"{met['documents']} pages), leaked on purpose by `world.leak`: its scores on "
                "these abilities are no evidence of anything but that."
            )
    if told:
        return told
    if recipe.world.leak:
        return ["It met none of the evaluation items that `world.leak` gives away."]
    return [
        "No evaluation item of the built-in world stands in the text that regrow trained it on, "
        "by their keys."
    ]


def _met(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The phase of a stage that met most leaked items; None where none met any."""
    phases = [record, *(record.get(name) for name in _PHASES)]
    found = [(phase or {}).get("read", {}).get("leaked") for phase in phases]
    return max((one for one in found if one and one["items"]), key=_items, default=None)


def _items(met: Mapping[str, Any]) -> int:
    return int(met["items"])
