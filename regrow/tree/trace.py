"""Which documents a node had seen after any of its steps, from its edge record."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regrow.errors import RegrowError
from regrow.files import read_jsonl
from regrow.records import Conversation
from regrow.tree.edge import Edge, read_edge
from regrow.tree.runs import recipe_of, traced

if TYPE_CHECKING:
    from regrow.align.rows import Rows
    from regrow.corpus.reads import Tally

_BEFORE, _AFTER = 60, 100  # characters of a snippet around what was looked for

Ranges = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Visit:
    """What one phase of a node (its `training`, `dialogue tuning` ...) saw up to a step.

    `tallies` are by source. `ends` says for every step that moved weights the step's number and
    the row after its last, in order.
    """

    node: str
    stage: str
    phase: str
    step: int
    steps: int
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)  # tokens of each text source
    ends: Sequence[tuple[int, int]] = ()
    supply: Rows | None = None

    def to_row(self) -> dict[str, Any]:
        """For --json."""
        sources: dict[str, dict[str, float]] = {}
        for name, seen in self.tallies.items():
            tokens = int(seen.tokens.sum())
            sources[name] = {"documents": len(seen.documents), "tokens": tokens}
            if name in self.sizes:
                sources[name]["epochs"] = round(tokens / self.sizes[name], 4)
            sources[name]["most_times"] = int(seen.times.max())
        return {
            "node": self.node, "stage": self.stage, "phase": self.phase, "step": self.step,
            "steps": self.steps, "sources": sources,
        }  # fmt: skip


@dataclass(frozen=True)
class Found:
    """A document that was seen and holds what was looked for.

    `times` counts epochs, `tokens` what was learnt from, over all of them; `first_step` is counted
    from 1, in its phase.
    """

    node: str
    phase: str
    source: str
    id: str
    url: str
    times: int
    tokens: int
    first_step: int
    snippet: str


def seen_by(folder: Path, step: int | None = None) -> list[Visit]:
    """What a node of a run had seen after `step` steps (0: none; None: all), forebears first.

    Rows that were rewound or left out by the spike guard do not count, and forebears count as they
    were at their end. Raises RegrowError for an unknown step, or where the corpus is not there any
    more.
    """
    run, edges = folder.parent, traced(folder.parent, folder.name)
    visits = [v for edge in edges[:-1] for v in _visits(run, edge, None)]
    return visits + (_visits(run, edges[-1], step) if edges else [])


def _visits(run: Path, edge: Edge, step: int | None) -> list[Visit]:
    if edge.stage == "import":
        return [Visit(edge.name, edge.stage, "imported", 0, 0)]
    phases = list(_phases(run / edge.name, edge))
    if not phases:
        raise RegrowError(
            f"{edge.name} was grown before regrow wrote down which rows it read; "
            f"`regrow run {recipe_of(run).name} --regrow {edge.name}` grows it anew"
        )
    last = phases[-1]
    steps = last.steps
    if step is not None and not 0 <= step <= steps:
        raise RegrowError(f"{edge.name} has {steps} steps; give --step 0 to {steps}, not {step}")
    visits = [_visit(run, edge, phase, phase.steps) for phase in phases[:-1]]
    return [*visits, _visit(run, edge, last, steps if step is None else step)]


@dataclass(frozen=True)
class _Phase:
    """A part of a stage that moved the node's weights: its rows, and those seen at each step."""

    name: str
    told: Mapping[str, Any] | None  # what makes the rows again; None where there were none
    ends: Sequence[tuple[int, int]]
    steps: int
    seen: Ranges = ()
    lines: Sequence[Mapping[str, Any]] = ()  # of PPO
    last: Mapping[str, Any] | None = None

    def until(self, step: int) -> Ranges:
        """The rows [first, end) in the weights after so many steps."""
        if self.told and self.lines:
            from regrow.align.reinforcement import steps_in

            whole = step == self.steps
            own = self.ends[0][1]
            kept = steps_in(self.lines[:step], self.last if whole else None)
            return [(one * own, (one + 1) * own) for one in kept]
        end = max((end for number, end in self.ends if number < step), default=0)
        return [(first, min(stop, end)) for first, stop in self.seen if first < end]


def _phases(folder: Path, edge: Edge) -> Iterator[_Phase]:
    """The phases of a stage in order; none where the record is older than `regrow trace --step`."""
    record = edge.record
    for key, name in (("supervised", "supervised"), ("dialogue_tuning", "dialogue")):
        if key in record:
            yield from _training(key.replace("_", " "), record[key], folder / name)
    if "training" in record:
        yield from _training("training", record, folder)
    for name in ("ppo", "grpo"):
        if name not in record:
            continue
        lines, read = record[name]["steps"], record[name].get("read")
        if read or not edge.inputs.get("settings.pretraining_mix"):
            own = read["rows_a_step"] if read else 0
            ends = [(number, (number + 1) * own) for number in range(len(lines))]
            told = read["rows"] if read else None
            yield _Phase(name, told, ends, len(lines), (), lines, record[name].get("last"))
    if "dpo" in record:  # learns from ratings alone
        yield _Phase("dpo", None, (), record["dpo"]["training"]["steps"])


def _training(name: str, record: Mapping[str, Any], folder: Path) -> Iterator[_Phase]:
    if "read" in record:
        rows = [row for row in read_jsonl(folder / "metrics.jsonl") if "event" not in row]
        ends = sorted({row["step"]: row["rows"] for row in rows if "verdict" not in row}.items())
        steps = max((row["step"] + 1 for row in rows), default=0)
        seen = [(first, end) for first, end in record["training"]["seen"]]
        yield _Phase(name, record["read"]["rows"], ends, steps, seen)


def _visit(run: Path, edge: Edge, phase: _Phase, step: int) -> Visit:
    """Count what a phase's rows held. Only here is the corpus opened."""
    if phase.told is None:
        return Visit(edge.name, edge.stage, phase.name, step, phase.steps)
    from regrow.align.rows import rows_again
    from regrow.corpus.reads import tally
    from regrow.corpus.shards import Shards
    from regrow.tree.stages.materials import supply_sizes

    def shards() -> Any:
        return Shards.open(_corpus(run, edge))

    supply = rows_again(phase.told, shards, lambda name: _conversations(run, edge, name))
    tallies = tally(r for first, end in phase.until(step) for r in supply.readings(first, end))
    return Visit(
        edge.name, edge.stage, phase.name, step, phase.steps, tallies, supply_sizes(supply),
        phase.ends, supply,
    )  # fmt: skip


def _corpus(run: Path, edge: Edge) -> Path:
    """The corpus that a node was grown on. Raises RegrowError where it is gone or another."""
    folder = run / "corpus"
    again = f"`regrow run {recipe_of(run).name} --to corpus` builds it"
    if not (folder / "tokens" / "manifest.json").is_file():
        raise RegrowError(f"the corpus that {edge.name} saw is not in {folder} any more; {again}")
    now = read_edge(folder)
    if now and now.fingerprint != edge.inputs.get("corpus"):
        raise RegrowError(
            f"{folder} is another corpus than {edge.name} saw; --regrow {edge.name} grows it on "
            "this one"
        )
    return folder


def _conversations(run: Path, edge: Edge, name: str) -> tuple[list[Conversation], Any]:
    """The conversations that a node learnt from, and its tokenizer."""
    from regrow.align.feedback import best_rated, load_rated
    from regrow.corpus.tokenizer import Tokenizer
    from regrow.tree.plan import Grown
    from regrow.tree.settings import SupervisedSettings
    from regrow.tree.stages.materials import conversations
    from regrow.tree.stages.tuning import lesson
    from regrow.tree.worker import context

    given = context(Grown(recipe_of(run), run), edge.name)
    tokenizer = Tokenizer.load(given.folder)
    settings = given.node.settings if given.node else None
    settings = getattr(settings, "tuning", settings)  # of dialogues, before PPO

    def learnt(talks: list[Conversation], limited: bool = True) -> list[Conversation]:
        """Those of the conversations that the stage did not keep aside."""
        if not isinstance(settings, SupervisedSettings):
            return talks
        return lesson(settings, talks, given.seed, limited).shown

    if name == "dialogues":
        talks = conversations(given, "dialogues", "dialogues")
        return learnt(talks, limited=False), tokenizer
    shown = []
    if name == "demonstrations" or edge.inputs.get("settings.demonstrations"):
        shown = conversations(given, "demonstrations", "instructions")
    if name == "samples":
        rated = load_rated(given.folder / "rated.jsonl.gz")
        shown = [*shown, *best_rated(rated, tokenizer, edge.inputs["settings.keep"])]
    return learnt(shown), tokenizer


def containing(folder: Path, visits: Sequence[Visit], text: str) -> list[Found]:
    """The documents among those seen whose text holds `text`, whatever its case.

    A document counts when any part of it was seen.
    """
    if not text.strip():
        raise RegrowError("--contains needs a text to look for")
    return [
        found
        for visit in visits
        for source, tally in visit.tallies.items()
        for found in _matches(folder.parent, visit, source, tally, text)
    ]


def _matches(
    run: Path, visit: Visit, source: str, tally: Tally, text: str
) -> Iterator[Found]:  # fmt: skip
    import numpy as np

    rows = np.asarray([end for _, end in visit.ends])
    matches = (
        _texts(run, visit, source, text)
        if source in visit.sizes
        else _talks(visit.supply, source, text)
    )
    place = {int(number): i for i, number in enumerate(tally.documents)}
    for number, id_, url, whole in matches:
        if (i := place.get(number)) is not None:
            step = visit.ends[int(np.searchsorted(rows, tally.first_row[i], side="right"))][0]
            yield Found(
                visit.node, visit.phase, source, id_, url, int(tally.times[i]),
                int(tally.tokens[i]), step + 1, snippet(whole, text),
            )  # fmt: skip


def _texts(
    run: Path, visit: Visit, source: str, text: str
) -> Iterator[tuple[int, str, str, str]]:  # fmt: skip
    """(number, id, url, text) of the corpus's documents that hold a text."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from regrow.corpus.shards import Shards

    numbers = {id_: n for n, id_ in enumerate(Shards.open(run / "corpus").document_ids(source))}
    path = run / "corpus" / "documents" / f"{source}.parquet"
    if not path.is_file():
        raise RegrowError(f"{path} is missing, and with it the texts that {visit.node} saw")
    for batch in pq.ParquetFile(path).iter_batches(columns=["id", "url", "text"]):
        held = batch.filter(pc.match_substring(batch["text"], text, ignore_case=True))
        for row in held.to_pylist():
            if row["id"] in numbers:  # else it was held out
                yield numbers[row["id"]], row["id"], row["url"] or "", row["text"]


def _talks(supply: Any, source: str, text: str) -> Iterator[tuple[int, str, str, str]]:
    """(number, id, "", text) of the conversations that hold a text."""
    wanted = re.compile(re.escape(text), re.IGNORECASE)
    for one in getattr(supply, "supplies", [supply]):
        if getattr(one, "name", None) == source:
            for number, talk in enumerate(one.conversations):
                whole = "\n".join(message.content for message in talk.messages)
                if wanted.search(whole):
                    yield number, talk.key or f"{source} {number}", "", whole


def snippet(whole: str, text: str) -> str:
    """What stands around the first place of a text, on one line."""
    found = re.search(re.escape(text), whole, re.IGNORECASE)
    at = found.start() if found else 0
    start, stop = max(0, at - _BEFORE), at + len(text) + _AFTER
    words = " ".join(whole[start:stop].split())
    return ("… " if start else "") + words + (" …" if stop < len(whole) else "")
