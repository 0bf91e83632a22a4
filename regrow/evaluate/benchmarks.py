"""Benchmarks with choices as items of the ability `benchmarks`, and to keep out of training.

A file is read by the task that comes with regrow for its folder, else by the first task that can
read its first row: what people have is often a copy of a published file under another name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regrow.align.tables import Row, read_rows
from regrow.errors import RegrowError
from regrow.evaluate.taskfile import Task, load_task, names
from regrow.evaluate.taskitems import bare_question, choices_of
from regrow.records import Item


def read_benchmark(path: Path) -> list[Item]:
    """The items of one file; rows that make no sense are left out.

    A benchmark is called by its file, by its folder where the file is called `data`, with the
    row's `set` behind it (arc-challenge, arc-easy). An item's family is its subject or concept;
    without one the item stands for itself. Raises RegrowError where no task can read a row.
    """
    stem = path.name.split(".")[0]
    benchmark = path.parent.name if stem == "data" else stem
    tasks = [task for name in names() if (task := load_task(name)).kind == "choice"]
    # Of tasks that read the same columns, those that look closer at the choices come first.
    tasks.sort(key=lambda t: (not t.data[0].startswith(f"{benchmark}/"), t.choices == "choices"))
    found = []
    for number, row in enumerate(read_rows(path)):
        for task in tasks:
            asked = _read(task, row)
            if asked is not None:
                name = "-".join([benchmark, *([str(row["set"])] if row.get("set") else [])]).lower()
                found.append(_item(name, f"{name}|{number}", row, *asked))
                tasks = [task]  # a file has rows of one kind
                break
    if not found:
        raise RegrowError(f"{path} holds no benchmark in a known shape; see docs/documents.md")
    return found


def read_benchmarks(paths: Sequence[Path]) -> list[Item]:
    """The items of all files, in order."""
    return [item for path in paths for item in read_benchmark(path)]


def _read(task: Task, row: Row) -> tuple[str, list[str], int] | None:
    """Question, choices and right place of a row; None where the task finds no sense in it."""
    try:
        question = bare_question(task, "a row", row).strip()
        choices, gold = choices_of(task, "a row", row)
    except RegrowError:
        return None
    return (question, [choice.strip() for choice in choices], gold[0]) if question else None


def _item(
    benchmark: str, id_: str, row: Row, question: str, choices: Sequence[str], gold: int
) -> Item:
    theme = row.get("subject") or row.get("concept")
    check: Mapping[str, Any] = {"choices": list(choices), "gold": gold}
    return Item(
        id_, "benchmarks", f"{benchmark}/{theme}" if theme else id_, id_, question,
        (choices[gold],), {"benchmark": benchmark}, check=check,
    )  # fmt: skip
