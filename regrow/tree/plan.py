"""Which steps a run has, what each waits for, and which are done already."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from regrow.errors import RegrowError
from regrow.files import read_json
from regrow.tree import edge, fingerprint, graph, links
from regrow.tree.fingerprint import Digests, Inputs
from regrow.tree.recipe import Recipe

#: The ending of the step that measures a node.
MEASURE = "/measure"
BEFORE = ("world", "corpus")


@dataclass(frozen=True)
class Step:
    """One piece of work. `state` is done, begun (it goes on where it stopped) or missing."""

    name: str
    stage: str
    needs: tuple[str, ...]
    state: str

    @property
    def node(self) -> str | None:
        """The node that is grown or measured; None for world, corpus and report."""
        name = self.name.removesuffix(MEASURE)
        return None if name in (*BEFORE, "report") else name


class Grown:
    """What lies in a run's folder, against what the recipe says now.

    Steps `anew` count as if they were not there, finished ones `accepted` as if nothing had
    changed.
    """

    def __init__(
        self, recipe: Recipe, run: Path, anew: Collection[str] = (), accepted: Collection[str] = ()
    ) -> None:
        self.recipe, self.run = recipe, run
        self.anew, self.accepted = frozenset(anew), frozenset(accepted)
        self.digests = Digests(run / "digests.json")

    def fingerprint(self, name: str) -> str:
        """The fingerprint of a finished step as it was grown, else of what would be grown."""
        found = edge.read_edge(self.run / name)
        return found.fingerprint if found else self.inputs(name).fingerprint

    def inputs(self, name: str) -> Inputs:
        """What a step would be made of now."""
        if name == "world":
            return fingerprint.world_inputs(self.recipe)
        if name == "corpus":
            return fingerprint.corpus_inputs(self.recipe, self.fingerprint("world"), self.digests)
        if name == "report":
            return self._report_inputs()
        if name.endswith(MEASURE):
            node = self.fingerprint(name.removesuffix(MEASURE))
            return fingerprint.measure_inputs(self.recipe, node, self.digests)
        parent = self.recipe.nodes[name].parent
        return fingerprint.node_inputs(
            self.recipe,
            name,
            self.fingerprint(parent) if parent else None,
            self.fingerprint("corpus"),
            self.digests,
        )

    def _report_inputs(self) -> Inputs:
        scores = {
            name: self.digests.paths([str(file)])
            for name in self.recipe.nodes
            if name not in self.anew and (file := self.run / name / "scores.json").is_file()
        }
        return fingerprint.inputs_of({"scores": scores, "nodes": " ".join(self.recipe.nodes)})

    def state(self, name: str) -> str:
        """done, begun or missing. Scores and reports that are out of date count as missing."""
        if name.removesuffix(MEASURE) in self.anew:
            return "missing"
        if name.endswith(MEASURE):
            found = edge.read_edge(self.run / name.removesuffix(MEASURE))
            now = self.inputs(name).fingerprint
            fresh = found and found.measured and found.measured["fingerprint"] == now
            return "done" if fresh else "missing"
        found = edge.read_edge(self.run / name)
        if name == "report":
            return "done" if found and not found.changes(self.inputs(name)) else "missing"
        if found:
            return "done"
        return "begun" if (self.run / name / edge.GROWING).is_file() else "missing"

    def drift(self, name: str) -> list[str]:
        """What has changed in the recipe since a step was finished or begun."""
        if name in self.anew:
            return []
        if found := edge.read_edge(self.run / name):
            return [] if name in self.accepted else found.changes(self.inputs(name))
        begun = self.run / name / edge.GROWING
        if begun.is_file():
            return self.inputs(name).changes_from(read_json(begun)["inputs"])
        return []


def make_plan(
    recipe: Recipe,
    run: Path,
    to: Sequence[str] = (),
    start: Sequence[str] = (),
    anew: Collection[str] = (),
    accepted: Collection[str] = (),
) -> list[Step]:
    """The steps that the targets need, in order, each with its state.

    `to` may name world or corpus, to stop there; steps `anew` count as missing, with all that
    came from them; of those `accepted` no change is asked about. Nothing is touched. Raises
    RegrowError where the recipe has drifted from what is grown, or a node is unknown.
    """
    grown = Grown(recipe, run, _with_offspring(recipe, anew), _in_order(recipe, accepted))
    _check_documents(recipe, grown.digests)
    last = [name for name in to if name in BEFORE]
    nodes = [] if last else _wanted(recipe, grown, to, start)
    names = ["world"] if last == ["world"] else list(BEFORE)
    _refuse_drift(grown, [*names, *nodes])
    steps = [Step(name, name, tuple(names[:i]), grown.state(name)) for i, name in enumerate(names)]
    for name in nodes:
        node = recipe.nodes[name]
        needs = ("corpus", *([node.parent] if node.parent else []))
        steps.append(Step(name, node.stage, needs, grown.state(name)))
    scored = [name + MEASURE for name in nodes]
    for name in scored:
        steps.append(Step(name, "measure", (name.removesuffix(MEASURE),), grown.state(name)))
    if nodes:
        fresh = all(step.state == "done" for step in steps)
        state = grown.state("report") if fresh else "missing"
        steps.append(Step("report", "report", tuple(scored), state))
    return steps


def _wanted(recipe: Recipe, grown: Grown, to: Sequence[str], start: Sequence[str]) -> list[str]:
    """The selected nodes, and of their forebears those that are not grown yet."""
    parents = recipe.parents()
    chosen = set(graph.select(parents, to, start))
    for name in list(chosen):
        for forebear in graph.lineage(parents, name):
            if grown.state(forebear) != "done":
                chosen.add(forebear)
    return [name for name in graph.order(parents) if name in chosen]


def _check_documents(recipe: Recipe, digests: Digests) -> None:
    """Missing, empty and unreadable documents, data and abilities are found before anything is
    grown."""
    if recipe.documents:
        digests.paths(recipe.documents.paths)
    fingerprint.real_data(recipe, digests)
    fingerprint.own_abilities(recipe, digests)


def _refuse_drift(grown: Grown, names: Sequence[str]) -> None:
    for name in names:
        if changes := grown.drift(name):
            shown = "; ".join(changes[:6]) + (" ..." if len(changes) > 6 else "")
            if (grown.run / name / edge.FILE).is_file():
                ways = f"--accept {name} to keep it as it is, or --regrow {name}"
            else:
                ways = f"undo the change to go on with it, or --regrow {name}"
            raise RegrowError(
                f"the recipe has changed since {name} was grown: {shown}. Either {ways} to grow "
                "it anew, with all that comes from it"
            )


def accept(recipe: Recipe, run: Path, names: Collection[str]) -> list[str]:
    """Let finished steps stand although their inputs changed; returns those that did."""
    grown, taken = Grown(recipe, run), []
    for name in _in_order(recipe, names):
        found = edge.read_edge(run / name)
        if found and found.changes(now := grown.inputs(name)):
            links.own(run / name)
            edge.write_edge(run / name, found.accept(now))
            taken.append(name)
    return taken


def clear(recipe: Recipe, run: Path, names: Collection[str]) -> list[str]:
    """Remove steps and all that was grown from them, to be grown anew; returns those removed."""
    there = [
        step
        for step in _with_offspring(recipe, names)
        if (run / step).is_dir() or (run / step).is_symlink()
    ]
    for name in reversed(there):
        links.remove(run / name)
    return there


def _with_offspring(recipe: Recipe, names: Collection[str]) -> list[str]:
    """The named steps and all that is grown from them, in order."""
    order, gone = [*BEFORE, *graph.order(recipe.parents())], set()
    for name in _in_order(recipe, names):
        if name in BEFORE:
            gone |= set(order[order.index(name) :])
        else:
            gone |= {name, *graph.descendants(recipe.parents(), name)}
    return [name for name in order if name in gone]


def _in_order(recipe: Recipe, names: Collection[str]) -> list[str]:
    order = [*BEFORE, *graph.order(recipe.parents())]
    for name in names:
        if name not in order and name != "all":
            raise RegrowError(f"there is no node {name!r}{graph.nearest(name, order)}")
    return order if "all" in names else [name for name in order if name in names]
