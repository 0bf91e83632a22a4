"""What differs between two nodes: how they were made, what they read, what they can."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regrow.claims.arms import differences
from regrow.claims.values import shared, values_on
from regrow.errors import RegrowError
from regrow.evaluate.abilities import abilities_of, lines_of
from regrow.evaluate.outcomes import read_measuring
from regrow.evaluate.statistics import holm, mcnemar_exact, paired_difference
from regrow.tree.edge import Edge, read_edge
from regrow.tree.fingerprint import flatten
from regrow.tree.graph import lineage
from regrow.tree.recipe import Recipe
from regrow.tree.runs import recipe_of

#: What of an edge's record is the course of training, by the ending of its key.
_COURSE = ("tokens", "steps", "loss", "last_loss", "spikes", "rewinds", "skipped", "gold", "kl")


def compare(one: Path, other: Path) -> dict[str, Any]:
    """The differences of two grown nodes, as rows.

    `recipe`: `key: one -> other`, or the stages from one to the other where it descends; `data`:
    documents and shares read; `ledger`: the course of training; `abilities`: other less one on
    shared items, p values held over all lines.
    Raises RegrowError for a folder that is no grown node of a run.
    """
    edges = _edge(one), _edge(other)
    first, second = recipe_of(one.parent), recipe_of(other.parent)
    if between := _stages(one, other, second):
        recipe = between
    elif one.name in first.nodes and other.name in second.nodes:
        recipe = differences(first, second, one.name, other.name)
    else:  # an imported node
        recipe = _changed(edges[0].inputs, edges[1].inputs)
    records = [flatten(dict(edge.record)) for edge in edges]
    data = _changed(*(_part(record, ("read.", "documents")) for record in records))
    course = [{key: value for key, value in record.items() if _of_course(key)}
              for record in records]  # fmt: skip
    return {
        "nodes": [str(one), str(other)],
        "recipe": recipe,
        "data": data,
        "ledger": _changed(*course),
        "abilities": _abilities(one, other),
    }


def _stages(one: Path, other: Path, recipe: Recipe) -> list[str]:
    """The stages from a node to one that descends from it in the same run, the first one first."""
    if one.parent.resolve() != other.parent.resolve() or other.name not in recipe.nodes:
        return []
    path = lineage(recipe.parents(), other.name)
    if one.name not in path[1:]:
        return []
    told = []
    for name in reversed(path[: path.index(one.name)]):
        node = recipe.nodes[name]
        said = flatten(node.settings.model_dump(mode="json", exclude_defaults=True))
        words = ", ".join(f"{key}={value}" for key, value in said.items())
        told.append(f"{name}: {node.stage}, {node.tokens} tokens, {words or 'as by default'}")
    return told


def _edge(folder: Path) -> Edge:
    found = read_edge(folder)
    if found is None:
        raise RegrowError(f"{folder} is no finished node of a run; give a node that was grown")
    return found


def _part(record: Mapping[str, Any], prefixes: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in record.items()
            if key.startswith(prefixes) and not isinstance(value, (list, tuple))
            and not key.endswith("seed")}  # fmt: skip


def _of_course(key: str) -> bool:
    return key.rpartition(".")[2] in _COURSE and "read" not in key.split(".")


def _changed(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    keys = [*a, *(key for key in b if key not in a)]
    return [f"{key}: {_short(a.get(key, 'nothing'))} -> {_short(b.get(key, 'nothing'))}"
            for key in keys if a.get(key) != b.get(key)]  # fmt: skip


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return f"{len(value)} entries" if value else "none"
    return str(value)


def _abilities(one: Path, other: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for line in lines_of(abilities_of(map(read_measuring, (one, other)))):
        a, b = values_on(one, line), values_on(other, line)
        if a is None or b is None:
            continue
        a, b = shared([a, b])
        if not a.items:
            continue
        keys = list(a.items)
        before, after = ([side.items[k][0] for k in keys] for side in (a, b))
        got = paired_difference(before, after, [a.items[k][1] for k in keys])
        binary = {*before, *after} <= {0, 1}
        rows.append({"line": line.title, "one": a.mean, "other": b.mean, "low": got.low,
                     "difference": got.difference, "high": got.high, "p": got.p,
                     "mcnemar": mcnemar_exact(before, after) if binary else None})  # fmt: skip
    for row, adjusted in zip(rows, holm([row["p"] for row in rows])):
        row["adjusted"] = adjusted
    return rows


def told(found: Mapping[str, Any]) -> list[str]:
    """The differences as lines for the terminal."""
    out = [" -> ".join(found["nodes"])]
    for part in ("recipe", "data", "ledger"):
        out += ["", f"{part}:", *(f"  {row}" for row in found[part] or ["nothing"])]
    out += [
        "",
        "abilities (other less one, 95 % interval; * after Holm at 5 %; McNemar's exact p",
        "takes items for independent):",
    ]
    for row in found["abilities"]:
        star = " *" if row["adjusted"] < 0.05 else ""
        change = f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]{star}"
        exact = "" if row["mcnemar"] is None else f"  McNemar {row['mcnemar']:.2g}"
        out.append(f"  {row['line']:32}{row['one']:7.3f} ->{row['other']:7.3f}  {change}{exact}")
    return out if found["abilities"] else [*out, "  not measured on the same items"]
