"""Finding what is grown: runs by recipe name, nodes by name or folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.files import read_json
from regrow.tree.edge import Edge, read_edge
from regrow.tree.graph import lineage, nearest
from regrow.tree.recipe import Recipe
from regrow.tree.worker import RECIPE


def find_run(runs: Path, name: str | None = None) -> Path:
    """The folder of a run: the one named, else the one that was used last."""
    found = {path.parent.name: path for path in runs.glob(f"*/{RECIPE}")}
    if name is None and found:
        return max(found.values(), key=lambda path: path.stat().st_mtime_ns).parent
    if name is None:
        raise RegrowError(f"nothing is grown in {runs} yet; start with `regrow run`")
    if name not in found:
        raise RegrowError(
            f"there is no run {name!r} in {runs}{nearest(name, found)}"
            if found
            else f"there is no run {name!r} in {runs}; start with `regrow run {name}`"
        )
    return found[name].parent


def recipe_of(run: Path) -> Recipe:
    """The recipe that a run was last grown from."""
    return Recipe.model_validate(read_json(run / RECIPE))


def nodes_of(run: Path) -> dict[str, Path]:
    """The finished nodes of a run, in the order of its recipe; imported ones at the end."""
    order = list(recipe_of(run).nodes)
    folders = [path.parent for path in run.glob("*/config.json") if read_edge(path.parent)]
    folders.sort(key=lambda f: (order.index(f.name) if f.name in order else len(order), f.name))
    return {folder.name: folder for folder in folders}


def find_node(runs: Path, node: str, run: str | None = None) -> Path:
    """The folder of a node: a path to one, or a name in a run.

    Raises RegrowError with the nearest name, or with the command that grows it.
    """
    if (Path(node) / "config.json").is_file():
        return Path(node)
    folder = find_run(runs, run)
    grown = nodes_of(folder)
    if node in grown:
        return grown[node]
    recipe = recipe_of(folder)
    if node in recipe.nodes:
        raise RegrowError(f"{node} is not grown yet; run `regrow run {recipe.name} --to {node}`")
    raise RegrowError(f"there is no node {node!r}{nearest(node, {*grown, *recipe.nodes})}")


def traced(run: Path, node: str) -> list[Edge]:
    """The edge records from the root down to a node; those that are there."""
    recipe = recipe_of(run)
    path = lineage(recipe.parents(), node) if node in recipe.nodes else [node]
    return [edge for name in reversed(path) if (edge := read_edge(run / name))]


def overview(run: Path) -> list[dict[str, Any]]:
    """A row for every node: what it is, whether it is grown, and its scores by ability.

    Nodes that the recipe lacks, as imported ones, come at the end.
    """
    declared = recipe_of(run).nodes
    names = list(dict.fromkeys([*declared, *nodes_of(run)]))
    rows = []
    for name in names:
        node, edge = declared.get(name), read_edge(run / name)
        parent = node.parent if node else edge.parent if edge else None
        growing = (run / name / "growing.json").is_file()
        rows.append(
            {
                "node": name,
                "parent": parent if parent in names else None,
                "stage": node.stage if node else edge.stage if edge else "",
                "tokens": node.tokens if node else 0,
                "arm": bool(node and node.arm),
                "stands_for": node.stands_for if node else "",
                "state": "grown" if edge else "begun" if growing else "missing",
                "seconds": edge.seconds if edge else None,
                "fingerprint": edge.fingerprint if edge else None,
                "measured": bool(edge and edge.measured),
                "scores": means((edge.measured or {}) if edge else {}),
            }
        )
    return rows


def means(measured: Mapping[str, Any]) -> dict[str, float]:
    """The mean score of each ability over its variants."""
    by_ability: dict[str, list[float]] = {}
    for row in measured.get("scores") or []:
        by_ability.setdefault(row["ability"], []).append(row["score"])
    return {name: sum(values) / len(values) for name, values in by_ability.items()}
