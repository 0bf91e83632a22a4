"""A run's nodes read from disk, and each compared with its parent on the same items."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.evaluate.abilities import LINES, Ability, Line, abilities_of, lines_of
from regrow.evaluate.outcomes import Outcome, Score, read_measuring, read_outcomes, read_scores
from regrow.evaluate.statistics import Paired, holm, paired_difference
from regrow.files import read_json, read_jsonl

#: Stages whose metrics count the tokens of each step by themselves.
REINFORCED = ("rlhf", "grpo")


@dataclass(frozen=True)
class NodeReport:
    """What lies in a node's folder, as far as the report needs it."""

    name: str
    stage: str
    parent: str | None
    arm: bool
    tokens: int
    stands_for: str
    claim: str
    mixture: str
    edge: Mapping[str, Any]
    scores: Sequence[Score]
    outcomes: Sequence[Outcome] = field(repr=False)
    metrics: Sequence[Mapping[str, Any]] = field(repr=False)
    samples: Sequence[Mapping[str, Any]] = field(repr=False)
    measuring: Mapping[str, Any] = field(repr=False)

    @property
    def lines(self) -> dict[str, Score]:
        """The scores that stand in the heat map, by line."""
        return {score.line: score for score in self.scores if score.line}


@dataclass(frozen=True)
class Change:
    """What a stage did to one line: the child minus its parent on the same items.

    `adjusted` is the p value after Holm over all lines of all edges. `better` is +1 for a gain,
    -1 for a loss, in the sense of the line.
    """

    parent: str
    child: str
    line: Line
    before: float
    after: float
    paired: Paired
    adjusted: float = 1.0

    @property
    def significant(self) -> bool:
        """At 5 % over the whole grid of lines and edges."""
        return self.adjusted < 0.05

    @property
    def gain(self) -> float:
        """The difference, positive where it is for the better."""
        return self.paired.difference * self.line.best


@dataclass(frozen=True)
class Run:
    """A run folder: its recipe, its nodes in the order of the tree, its corpus report."""

    folder: Path
    recipe: Mapping[str, Any]
    nodes: Sequence[NodeReport]
    corpus: Mapping[str, Any]

    @cached_property
    def abilities(self) -> Mapping[str, Ability]:
        """The registry, and the abilities of one's own that a node was asked."""
        return abilities_of(node.measuring for node in self.nodes)

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """Those of all these abilities."""
        return lines_of(self.abilities)

    def node(self, name: str) -> NodeReport | None:
        """The node of this name, None where it is not grown."""
        return next((node for node in self.nodes if node.name == name), None)

    def changes(self) -> list[Change]:
        """Every line of every edge whose two ends are measured, with p values held over all."""
        found = [
            change
            for child in self.nodes
            if child.parent and (parent := self.node(child.parent))
            for change in changes(parent, child, self.lines)
        ]
        adjusted = holm([change.paired.p for change in found])
        return [replace(change, adjusted=p) for change, p in zip(found, adjusted, strict=True)]


def read_run(folder: Path) -> Run:
    """Read all grown nodes of a run. Raises RegrowError where nothing is grown."""
    path = folder / "recipe.json"
    recipe = read_json(path) if path.exists() else {}
    declared = list(recipe.get("nodes", {}))
    present = sorted(
        (edge.parent.name for edge in folder.glob("*/edge.json")
         if edge.parent.name not in ("world", "corpus", "report")),
    )  # fmt: skip
    if not present:
        raise RegrowError(f"{folder} holds no grown node; run `regrow run` first")
    names = [name for name in declared if name in present]
    names += [name for name in present if name not in names]
    nodes = _in_tree_order([read_node(folder / name, recipe) for name in names])
    report = folder / "corpus" / "report.json"
    return Run(folder, recipe, nodes, read_json(report) if report.exists() else {})


def read_node(folder: Path, recipe: Mapping[str, Any]) -> NodeReport:
    """What lies in a node's folder; what is missing is empty."""

    def beside(name: str, otherwise: Any) -> Any:
        path = folder / name
        return read_json(path) if path.exists() else otherwise

    edge = beside("edge.json", {})
    declared = recipe.get("nodes", {}).get(folder.name, {})
    stage = edge.get("stage", declared.get("stage", ""))
    metrics: list[Mapping[str, Any]] = []
    for part in ("supervised", "dialogue", "."):
        if (path := folder / part / "metrics.jsonl").exists():
            rows = read_jsonl(path)
            metrics += so_far(rows) if part == "." and stage in REINFORCED else rows
    return NodeReport(
        folder.name,
        stage,
        edge.get("parent"),
        bool(declared.get("arm", False)),
        int(declared.get("tokens") or edge.get("record", {}).get("tokens") or 0),
        declared.get("stands_for", ""),
        declared.get("claim", ""),
        (declared.get("settings") or {}).get("mixture") or "",
        edge,
        read_scores(folder),
        read_outcomes(folder),
        metrics,
        beside("samples.json", []),
        read_measuring(folder),
    )


def so_far(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows that each count the tokens of their own step, with those of all steps so far."""
    found: list[Mapping[str, Any]] = []
    tokens = 0.0
    for row in rows:
        tokens += float(row.get("tokens", 0))
        found.append({**row, "tokens": tokens})
    return found


def _in_tree_order(nodes: Sequence[NodeReport]) -> list[NodeReport]:
    """Parents before children, main nodes before arms, each subtree together."""
    names = {node.name for node in nodes}
    ordered: list[NodeReport] = []

    def visit(parent: str | None) -> None:
        below = [n for n in nodes if (n.parent if n.parent in names else None) == parent]
        for node in sorted(below, key=lambda n: n.arm):
            ordered.append(node)
            visit(node.name)

    visit(None)
    return ordered


def changes(parent: NodeReport, child: NodeReport, lines: Sequence[Line]) -> list[Change]:
    """Child minus parent for each line that both have, on the items that both answered."""
    found = []
    before, after = by_line(parent.outcomes, lines), by_line(child.outcomes, lines)
    for line in lines:
        old, new = before.get(line.name, {}), after.get(line.name, {})
        shared = [key for key in old if key in new]
        if not shared:
            continue
        a, b = [old[key][0] for key in shared], [new[key][0] for key in shared]
        paired = paired_difference(a, b, [old[key][1] for key in shared])
        found.append(
            Change(parent.name, child.name, line, sum(a) / len(a), sum(b) / len(b), paired)
        )
    return found


def by_line(
    outcomes: Sequence[Outcome], lines: Sequence[Line] = LINES
) -> dict[str, dict[Any, tuple[float, str]]]:
    """Line to item to (value, family); an item asked in several templates counts by its mean."""
    values: dict[str, dict[Any, list[float]]] = defaultdict(lambda: defaultdict(list))
    families: dict[Any, str] = {}
    lines_of: dict[Any, list[str]] = {}
    for outcome in outcomes:
        kind = (outcome.ability, outcome.metric, tuple(sorted(outcome.variant.items())))
        if kind not in lines_of:
            lines_of[kind] = [
                line.name
                for line in lines
                if line.holds(outcome.ability, outcome.metric, outcome.variant)
            ]
        for name in lines_of[kind]:
            values[name][outcome.identity].append(outcome.value)
            families[outcome.identity] = outcome.family
    return {
        name: {key: (sum(v) / len(v), families[key]) for key, v in found.items()}
        for name, found in values.items()
    }
