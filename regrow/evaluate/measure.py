"""Measure a node: ask every item, judge every answer, write scores with intervals.

Requests of all abilities that are drawn alike run in the same batches. Where greedy decoding runs
through the gold answer and its end (one forward pass, which gives the continuous twin as well),
nothing needs to be drawn.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.evaluate import prompts, samples, tools, variations
from regrow.evaluate.abilities import ABILITIES, Ability, abilities_of, find, lines_of
from regrow.evaluate.answering import Answer, Subject, answer
from regrow.evaluate.benchmarks import read_benchmarks
from regrow.evaluate.declared import value
from regrow.evaluate.doubt import curves
from regrow.evaluate.judges import JUDGES, Verdicts, judge_programs, same
from regrow.evaluate.memory import memorisation
from regrow.evaluate.outcomes import (
    Outcome,
    Score,
    read_measuring,
    read_outcomes,
    read_scores,
    scores,
)
from regrow.evaluate.ownability import own_ability, own_outcomes
from regrow.evaluate.plans import PLANS, Asker, Request
from regrow.evaluate.reading import by_position, go_on, heldout, language_modelling
from regrow.evaluate.taskitems import TaskSettings
from regrow.files import read_json, read_jsonl, write_json, write_jsonl
from regrow.progress import Progress, silent
from regrow.records import Item
from regrow.seeds import derive

#: Stages after which a node speaks in its chat template.
TUNED = ("supervised", "feedme", "rlhf", "grpo", "dpo")
#: Items of a cell that choose a base node's format and are never scored.
SELECTION = 24
#: Abilities that are measured on documents and have no items.
OF_DOCUMENTS = frozenset(one.name for one in ABILITIES.values() if one.items == "documents")
#: Metrics of which the node's own probability of its answer is a forecast.
SURE = frozenset({"accuracy"})
#: Abilities whose answers are programs, which are run many at a time.
RUN = {"code_generation": judge_programs, "tools": tools.judge}
_OUTPUT = 400  # characters of an answer that are kept


@dataclass(frozen=True)
class MeasureSettings:
    """How finely to measure. `chat` None reads from the edge records whether the node is tuned.

    `templates` is 'split' (each item asked in one template) or 'all'. `precision` is auto (bf16
    where the processor is fast at it), bf16 or fp32. `heldout` is the corpus's
    heldout.jsonl, by default the one beside the node. `benchmarks` are the files of the ability of
    that name. With `beside`, what was measured of other abilities before stays. `own` are paths of
    abilities of one's own, over data in the folder `data`, at most `most` items of each; with
    `unsafe_code` their programs run although no sandbox holds them.
    """

    items: int = 150
    documents: int = 40
    samples: int = 10
    templates: str = "split"
    shots: tuple[int, ...] = (0, 1, 2, 4, 8)
    batch: int = 128
    precision: str = "auto"
    chat: bool | None = None
    heldout: Path | None = None
    benchmarks: tuple[Path, ...] = ()
    seed: int = 0
    beside: bool = False
    own: tuple[str, ...] = ()
    data: Path = Path("data")
    most: int | None = None
    unsafe_code: bool = False


def measure(
    node_folder: Path,
    items_folder: Path,
    abilities: Sequence[str],
    settings: MeasureSettings | None = None,
    progress: Progress = silent,
) -> list[Score]:
    """Measure the abilities on a node and write what was found into its folder.

    scores.json has the rows, items.jsonl.gz the outcomes of single items, samples.json ten answers
    for the reader, measuring.json how it was asked, curves and times. Items are read from
    `items_folder/<ability>.jsonl`. Raises RegrowError where an ability is unknown or its items
    are missing.
    """
    from regrow.corpus.tokenizer import Tokenizer
    from regrow.model.folder import load_model
    from regrow.train.precision import choose as choose_precision

    settings = settings or MeasureSettings()
    own = [own_ability(path) for path in settings.own]
    asked_of = [find(name) for name in abilities] + [ability for _, ability in own]
    began = time.perf_counter()
    precision = choose_precision(settings.precision)
    model = load_model(node_folder, precision.dtype)
    node = Subject(node_folder.name, model, Tokenizer.load(node_folder), settings.batch)
    node.model.eval()
    chat = speaks_chat(node_folder) if settings.chat is None else settings.chat
    items = {
        name: items_of(items_folder, name)
        for name in abilities
        if name not in OF_DOCUMENTS and name != "benchmarks"
    }
    if "benchmarks" in abilities:
        items["benchmarks"] = read_benchmarks(settings.benchmarks)
    chosen = {name: choose(rows, name, settings.items) for name, rows in items.items()}
    instruction = prompts.templates("instructions")[0]
    tried: dict[str, float] = {}
    formatted = [name for name in ("instructions", "few_shot") if name in chosen]
    if not chat and formatted:
        progress(0, 1, phase="choosing a format")
        instruction, tried = _best_format(node, chosen[formatted[0]][1])
    asker = Asker(
        node.tokenizer,
        node.context,
        chat=chat,
        every_template=settings.templates == "all",
        shots=settings.shots,
        samples=settings.samples,
        instruction=instruction,
    )
    requests = [
        request
        for name, (measured, _) in chosen.items()
        for item in measured
        for request in (PLANS | variations.PLANS)[name](item, asker)
    ]
    answers = answer(node, requests, progress)
    effort = {
        "answers": len(requests),
        "tokens": node.drawn["tokens"],
        "seconds": round(sum(node.seconds.values()), 2),
    }
    outcomes = _judge(requests, answers)
    if own:
        outcomes += own_outcomes(
            node_folder, [task for task, _ in own],
            TaskSettings(
                settings.data, limit=settings.most, every_template=settings.templates == "all",
                deal=True, chat=chat, batch=settings.batch, precision=settings.precision,
                unsafe_code=settings.unsafe_code,
            ),
            node, progress,
        )  # fmt: skip
    documents: list[dict[str, Any]] = []
    corpus = node_folder.parent / "corpus"
    if OF_DOCUMENTS & set(abilities):
        documents = heldout(settings.heldout or corpus / "heldout.jsonl", settings.documents)
    if "language_modelling" in abilities:
        outcomes += language_modelling(node, documents)
    if "position" in abilities:
        outcomes += by_position(node, documents)
    if "memorisation" in abilities:
        outcomes += memorisation(node, corpus, documents, settings.items)
    before: dict[str, Any] = {}
    if settings.beside:
        before = read_measuring(node_folder) if read_scores(node_folder) else {}
        anew = {ability.name for ability in asked_of}
        outcomes += [o for o in read_outcomes(node_folder) if o.ability not in anew]
    declared = before.get("own", {}) | {one.name: _declared(one) for _, one in own}
    lines = lines_of(abilities_of([{"own": declared}]))
    found = scores(node.name, outcomes, settings.seed, lines)
    rows = samples.answered(requests, [one.texts for one in answers], outcomes)
    if documents:
        rows.insert(0, go_on(node, documents))
    node.spent("all", began)
    write_json(
        node_folder / "measuring.json",
        {
            "chat": chat,
            "asked": before.get("asked", {})
            | {one.name: one.as_tuned if chat else one.plain for one in asked_of},
            **({"own": declared} if declared else {}),
            "instruction_format": {"used": instruction.name, "tried": tried}
            if tried
            else before.get("instruction_format", {}),
            "items": settings.items,
            "templates": settings.templates,
            "precision": precision.reason,
            "interval": "95 %, clustered by item family",
            "curves": curves(outcomes),
            "seconds": {part: round(taken, 2) for part, taken in node.seconds.items()},
            "effort": before.get("effort") or effort,
        },
    )
    if not before:
        write_json(node_folder / "samples.json", rows)
    write_jsonl(node_folder / "items.jsonl.gz", (outcome.to_row() for outcome in outcomes))
    write_json(node_folder / "scores.json", [score.to_row() for score in found])
    return found


def _declared(ability: Ability) -> dict[str, Any]:
    return ability.model_dump(mode="json", exclude_defaults=True)


def speaks_chat(node_folder: Path) -> bool:
    """Whether the node or a forebear was tuned, by the edge records beside it.

    A model from elsewhere holds conversations where it brings a chat template for them.
    """
    from regrow.corpus.foreign import holds_conversations

    last = node_folder
    for folder, edge in forebears(node_folder):
        if edge.get("stage") in TUNED or edge.get("record", {}).get("chat"):
            return True
        last = folder
    return not (last / "edge.json").exists() and holds_conversations(last)


def forebears(node_folder: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The node, its parent and so on, each with its edge record; a folder without one is the last,
    with an empty record."""
    folder = node_folder
    for _ in range(64):
        path = folder / "edge.json"
        edge = read_json(path) if path.exists() else {}
        yield folder, edge
        if not edge.get("parent"):
            return
        folder = folder.parent / edge["parent"]
    raise RegrowError(f"the parents of {node_folder.name} run in a circle; check its edge.json")


def read_items(items_folder: Path, ability: str) -> list[Item]:
    """The items of an ability in file order."""
    path = items_folder / f"{ability}.jsonl"
    if not path.exists():
        raise RegrowError(
            f"{path} is missing; build the world again (`regrow run`) or leave out {ability}"
        )
    return [Item.from_row(row) for row in read_jsonl(path)]


def items_of(items_folder: Path, ability: str) -> list[Item]:
    """The items of an ability; of one that varies others, theirs."""
    if find(ability).of:
        return variations.varied(ability, lambda source: read_items(items_folder, source))
    return read_items(items_folder, ability)


def choose(items: Sequence[Item], ability: str, most: int) -> tuple[list[Item], list[Item]]:
    """The items to score, at most so many a cell, and instructions to choose formats on.

    The choice is by the hash of the item's id: the same for every node.
    """
    cells: dict[tuple[tuple[str, str], ...], list[Item]] = defaultdict(list)
    for item in items:
        cells[tuple(sorted(item.split.items()))].append(item)
    measured: list[Item] = []
    others: list[Item] = []
    for cell in cells.values():
        ranked = sorted(cell, key=lambda item: (derive("items", item.id), item.id))
        spare = min(SELECTION, len(ranked) // 8) if ability == "instructions" else 0
        wanted = max(1, round(most * float(value(find(ability).share, ranked[0].split))))
        kept = min(wanted, len(ranked) - spare)
        measured += ranked[:kept]
        others += ranked[kept : kept + SELECTION]
    return measured, others


def _best_format(node: Subject, items: Sequence[Item]) -> tuple[prompts.Template, dict[str, float]]:
    """The plain instruction format with the most right answers on items that are never scored.

    Between equals the one decides that finds the right answers likelier.
    """
    requests, owners = [], []
    formats = prompts.templates("instructions")
    for template in formats:
        asker = Asker(node.tokenizer, node.context, chat=False, instruction=template)
        for item in items:
            requests += list((PLANS | variations.PLANS)[item.ability](item, asker))
            owners.append(template)
    answers = answer(node, requests, silent)
    right: Counter[str] = Counter()
    likely: dict[str, float] = defaultdict(float)
    for template, request, own in zip(owners, requests, answers, strict=True):
        right[template.name] += same(request.item, own.texts[0])
        likely[template.name] += own.twin("accuracy") or 0.0
    tried = {template.name: right[template.name] / max(1, len(items)) for template in formats}
    best = max(formats, key=lambda t: (tried[t.name], likely[t.name]))
    return best, tried


def _judge(requests: Sequence[Request], answers: Sequence[Answer]) -> list[Outcome]:
    judged: dict[int, Verdicts] = {}
    for ability, judge in RUN.items():
        own = [i for i, request in enumerate(requests) if request.item.ability == ability]
        if own:
            told = judge([requests[i] for i in own], [answers[i].texts for i in own])
            judged |= dict(zip(own, told, strict=True))
    outcomes, judges = [], JUDGES | variations.JUDGES
    for index, (request, said) in enumerate(zip(requests, answers, strict=True)):
        item = request.item
        verdicts = judged.get(index) or judges[item.ability](request, said.texts)
        cluster = str(getattr(item, find(item.ability).cluster))
        outcomes += [
            Outcome(
                item.ability, item.id, cluster, dict(request.variant), metric, found,
                said.twin(metric), request.asked, request.template, said.texts[0][:_OUTPUT],
                said.confidence if metric in SURE else None,
            )
            for metric, found in verdicts.items()
        ]  # fmt: skip
    return outcomes
