"""Macondo: writes the whole built-in world, documents and exercises and items, to a folder."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.files import write_json, write_jsonl
from regrow.progress import Progress, silent
from regrow.records import Conversation, Document, Item
from regrow.worlds.leaks import Leak, leaks, room_beside, strewn
from regrow.worlds.names import VARIANTS
from regrow.worlds.town import LEAST_PEOPLE, Town

SOURCES = ("town", "sheets", "textbook", "code")
#: Sizes of the laptop world, in characters of clean text.
DEFAULT_CHARACTERS = {
    "town": 12_000_000, "sheets": 7_000_000, "textbook": 4_000_000, "code": 6_000_000,
}  # fmt: skip
#: Rows for tuning in a world of the default size; smaller worlds get their share.
_ROWS = {
    "demonstrations/tasks": 7000, "demonstrations/code": 2000, "demonstrations/people": 6000,
    "dialogues": 8000, "prompts/people": 4000, "prompts/tasks": 1500, "dialogue_prompts": 3000,
}  # fmt: skip
_SMALLEST_SHARE = 0.05
#: The file that names leaked pages and items, where there are some.
LEAKED = "leaked.jsonl"
#: Share of the town's text that tells what is done and not done there.
_MANNERS = 0.03
#: Clean texts for the quality classifier, in a world of the default size.
_REFERENCE = 1200
#: Below this size one process is quicker than several.
_PARALLEL_FROM = 4_000_000


@dataclass(frozen=True, slots=True)
class _Job:
    """One source to publish: everything a worker process needs."""

    folder: Path
    source: str
    seed: int
    variant: str
    characters: int
    item_keys: frozenset[str]
    documents: Sequence[Document] = ()
    leaks: Sequence[Item] = ()
    apart: bool = False  # items of one task are dealt over all sheets
    given_away: Sequence[Leak] = ()  # pages that leak items on purpose
    mess: float = 1.0  # bad pages for each good one, times the usual number


def write_world(
    folder: Path,
    *,
    seed: int,
    variant: str = "a",
    people: int = 400,
    characters: Mapping[str, int] = DEFAULT_CHARACTERS,
    items: int = 200,
    sheets: str = "together",
    leak: float = 0.0,
    mess: float = 1.0,
    trusted: Sequence[str] = (),
    progress: Progress = silent,
    processes: int | None = None,
) -> None:
    """Write the world of a seed and variant ("a" or "b") to `folder`, replacing what stood there.

    `characters` is the approximate clean size of each source (town, sheets, textbook, code; one
    left out is not written), `items` the number of items per cell of each ability. `sheets` says
    whether exercises of one task stand `together` or `apart`. A share `leak` of the items of some
    abilities is given away on pages among the sheets, and leaked.jsonl says which (see
    `regrow.worlds.leaks`). `mess` multiplies the bad pages of the town's crawl, and `trusted` are
    the genres of the reference for quality classifiers, all where none is named. The bytes depend
    on the arguments only, not on `processes`. `world.json`, written last, is the truth: its
    presence means that the world is whole. Raises RegrowError on unknown names, and if a training
    text, leaked pages apart, were to hold the key of an item.
    """
    from regrow.worlds.heldout import held_out
    from regrow.worlds.prose import render_reference

    _check(variant, people, characters, items)
    for name in ("crawl", "repositories", "items"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("world.json", LEAKED):
        (folder / name).unlink(missing_ok=True)
    total = sum(characters.values())
    progress(0, total, phase="town")
    town, documents, asked = _render_town(seed, variant, people, characters.get("town", 0))
    made = _make_items(town, seed, items)
    _refuse_overlap("town", asked & {item.key for item in made})
    given_away = leaks(made, leak, seed, variant) if leak else []
    jobs = [
        _Job(
            folder, source, seed, variant, characters[source],
            frozenset(item.key for item in made),
            documents if source == "town" else (), made if source == "town" else (),
            sheets == "apart", given_away if source == "sheets" else (), mess,
        )
        for source in SOURCES
        if characters.get(source, 0) > 0
    ]  # fmt: skip
    if processes is None:
        processes = min(2, os.cpu_count() or 1) if total >= _PARALLEL_FROM else 1
    share = min(1.0, max(_SMALLEST_SHARE, total / sum(DEFAULT_CHARACTERS.values())))
    truth: list[dict[str, Any]] = []
    done = 0
    for job, rows in _run(jobs, processes):
        truth += rows
        done += job.characters
        progress(done, total, phase=job.source)
    if given_away:
        _write_leaked(folder, given_away, truth)
    rows_of = _make_conversations(town, seed, share)
    _write_rows(folder, made, rows_of, truth)
    reference = render_reference(town, max(100, round(_REFERENCE * share)), trusted)
    write_jsonl(folder / "reference.jsonl", ({"text": doc.text} for doc in reference))
    sources = [source for source in SOURCES if characters.get(source, 0) > 0]
    write_jsonl(folder / "heldout.jsonl", (asdict(d) for d in held_out(town, seed, sources)))
    counts = {name: len(rows) for name, rows in rows_of.items()}
    write_json(
        folder / "world.json",
        {**town.to_json(), "characters": dict(characters), "rows": counts, "items": len(made)},
    )


def _check(variant: str, people: int, characters: Mapping[str, int], items: int) -> None:
    if variant not in VARIANTS:
        raise RegrowError(f"unknown world variant {variant!r}; use one of: {', '.join(VARIANTS)}")
    if people < LEAST_PEOPLE:
        raise RegrowError(f"a world has at least {LEAST_PEOPLE} people, not {people}")
    unknown = sorted(set(characters) - set(SOURCES))
    if unknown:
        raise RegrowError(f"unknown world source {unknown[0]!r}; use one of: {', '.join(SOURCES)}")
    if items < 1 or min(characters.values(), default=0) < 0:
        raise RegrowError("a world needs at least 1 item per cell and sizes that are not negative")


def _render_town(
    seed: int, variant: str, people: int, characters: int
) -> tuple[Town, list[Document], set[str]]:
    from regrow.worlds.manners import render_manners
    from regrow.worlds.prose import render_town

    town = Town(seed, variant, people)
    keys: set[str] = set()
    documents = list(render_town(town, round(characters * (1 - _MANNERS)), keys))
    documents += render_manners(seed, variant, round(characters * _MANNERS))
    return town, documents, keys


def _make_items(town: Town, seed: int, per_cell: int) -> list[Item]:
    from regrow.worlds.knowledge import knowledge_items
    from regrow.worlds.questions import feedback_items
    from regrow.worlds.repositories import code_items
    from regrow.worlds.school_items import school_items

    items = knowledge_items(town, per_cell)
    items += school_items(seed, town.variant, per_cell)
    items += code_items(seed, town.variant, per_cell)
    items += feedback_items(town, seed, per_cell)
    return items


def _make_conversations(town: Town, seed: int, share: float) -> dict[str, list[Conversation]]:
    """Everything to tune on, by the name of its file."""
    from regrow.seeds import pyrandom
    from regrow.worlds.dialogues import demonstrations_dialogue, dialogue_prompts
    from regrow.worlds.lessons import demonstrations_tasks
    from regrow.worlds.questions import demonstrations_people, feedback_prompts
    from regrow.worlds.repositories import code_demonstrations

    variant = town.variant
    rows = {name: max(1, round(count * share)) for name, count in _ROWS.items()}
    demonstrations = demonstrations_tasks(seed, variant, rows["demonstrations/tasks"])
    demonstrations += code_demonstrations(seed, variant, rows["demonstrations/code"])
    demonstrations += demonstrations_people(town, seed, rows["demonstrations/people"])
    pyrandom(seed, variant, "demonstrations").shuffle(demonstrations)
    prompts = feedback_prompts(town, seed, rows["prompts/people"])
    prompts += _task_prompts(seed, variant, rows["prompts/tasks"])
    pyrandom(seed, variant, "prompts").shuffle(prompts)
    return {
        "demonstrations": demonstrations,
        "dialogues": demonstrations_dialogue(town, seed, rows["dialogues"]),
        "prompts": prompts,
        "dialogue_prompts": dialogue_prompts(town, seed, rows["dialogue_prompts"]),
    }


def _task_prompts(seed: int, variant: str, count: int) -> list[Conversation]:
    """Tasks as prompts for feedback: other draws, with the answer in `check`."""
    from regrow.seeds import derive
    from regrow.worlds.lessons import demonstrations_tasks

    drawn = demonstrations_tasks(derive(seed, "task prompts"), variant, 2 * count)
    tasks = [row for row in drawn if row.family != "problems"][:count]
    return [
        replace(
            row,
            messages=row.messages[:-1],
            check={"kind": "task", "answers": [row.messages[-1].content]},
        )
        for row in tasks
    ]


def _run(jobs: Sequence[_Job], processes: int) -> Iterator[tuple[_Job, list[dict[str, Any]]]]:
    """Do the jobs, side by side where asked; yields in the order of the jobs."""
    if processes <= 1:
        yield from ((job, _publish(job)) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=context) as pool:
        futures: list[Future[list[dict[str, Any]]]] = [pool.submit(_publish, job) for job in jobs]
        for job, future in zip(jobs, futures):
            yield job, future.result()


def _publish(job: _Job) -> list[dict[str, Any]]:
    """Write one source; returns the truth rows of its crawl (none for source trees)."""
    keys: set[str] = set()
    if job.source == "code":
        _write_trees(job, keys)
        rows: list[dict[str, Any]] = []
    else:
        from regrow.worlds.crawl import write_crawl

        documents = job.documents or list(_school_pages(job, keys))
        rows = write_crawl(
            job.folder / "crawl" / f"{job.source}.warc.gz", documents,
            seed=job.seed, variant=job.variant, source=job.source, leaks=job.leaks,
            mess_times=job.mess,
        )  # fmt: skip
    _refuse_overlap(job.source, keys & job.item_keys)
    return rows


def _school_pages(job: _Job, keys: set[str]) -> Iterator[Document]:
    from regrow.worlds.sheets import render_sheets
    from regrow.worlds.textbook import render_textbook

    if job.source == "sheets":
        room = room_beside(job.given_away, job.characters)
        pages = render_sheets(job.seed, job.variant, room, keys=keys, apart=job.apart)
        return strewn(pages, job.given_away, job.seed, job.variant) if job.given_away else pages
    return render_textbook(job.seed, job.variant, job.characters, keys=keys)


def _write_trees(job: _Job, keys: set[str]) -> None:
    from regrow.worlds.repositories import render_repositories

    folders: set[Path] = set()
    try:
        for name, text in render_repositories(job.seed, job.variant, job.characters, keys=keys):
            path = job.folder / "repositories" / name
            if path.parent not in folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                folders.add(path.parent)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RegrowError(
            f"cannot write {job.folder}: {error.strerror}; free space and run again"
        ) from error


def _refuse_overlap(source: str, shared: set[str]) -> None:
    if shared:
        raise RegrowError(
            f"{len(shared)} items stand in the training text of {source!r}, such as "
            f"{min(shared)!r}; this is a fault of the world: please report it with its seed"
        )


def _write_leaked(
    folder: Path, given_away: Sequence[Leak], truth: Sequence[dict[str, Any]]
) -> None:
    """leaked.jsonl: the address of every page that gives items away, with the ids of the items."""
    items = {page.id: ids for page, ids in given_away}
    rows = [row for row in truth if "leaked" in row]
    write_jsonl(
        folder / LEAKED, ({"url": row["url"], "items": items[row["leaked"]]} for row in rows)
    )


def _write_rows(
    folder: Path,
    items: Sequence[Item],
    conversations: Mapping[str, Sequence[Conversation]],
    truth: Sequence[dict[str, Any]],
) -> None:
    keys = {item.key for item in items}
    for name, rows in conversations.items():
        _refuse_overlap(name, keys & {row.key for row in rows})
        write_jsonl(folder / f"{name}.jsonl", (row.to_row() for row in rows))
    by_ability = sorted(items, key=lambda item: item.ability)
    for ability, group in groupby(by_ability, key=lambda item: item.ability):
        write_jsonl(folder / "items" / f"{ability}.jsonl", (item.to_row() for item in group))
    write_jsonl(folder / "truth.jsonl.gz", truth)
