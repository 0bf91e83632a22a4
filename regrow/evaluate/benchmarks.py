"""Published multiple-choice benchmarks as items: MMLU, ARC, OpenBookQA, BoolQ, PIQA and their like.

The shape is told by the keys of the row, as in `regrow.align.shapes`. A row of no known shape,
or whose answer is none of its choices, is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from regrow.align.tables import Row, read_rows
from regrow.errors import RegrowError
from regrow.records import Item

#: A question, its choices, and the place of the right one.
Asked = tuple[str, Sequence[str], int]

#: Words that a benchmark puts before its parts; the templates of prompts bring their own.
_LABEL = re.compile(r"^(?:Passage|Context|Question): *", re.MULTILINE)
_LISTED = re.compile(r"^([A-Z])[.)] +(.+)$", re.MULTILINE)


def _lettered(row: Row) -> Asked:
    """MMLU (a list, the answer A to D) and ARC and its like (choices by their letter or number)."""
    choices = row["choices"]
    by_letter = choices if isinstance(choices, Mapping) else dict(zip("ABCDEFGHIJ", choices))
    gold = list(by_letter).index(row["answer"])
    return row["question"], [str(choice) for choice in by_letter.values()], gold


def _numbered(row: Row) -> Asked:
    """BoolQ, PIQA and Social IQa: the answer by its place.

    Where the choices are mere letters, as in Social IQa, what they stand for is listed after the
    question: it becomes the choices.
    """
    question, choices = row["query"], [str(choice) for choice in row["choices"]]
    listed = dict(_LISTED.findall(question))
    if set(choices) <= listed.keys():
        question = question.partition("\nChoices:")[0]
        choices = [listed[letter] for letter in choices]
    return question, choices, int(row["gold"])


#: (keys that must be there, how the row is read).
_SHAPES: tuple[tuple[frozenset[str], Callable[[Row], Asked]], ...] = (
    (frozenset({"question", "choices", "answer"}), _lettered),
    (frozenset({"query", "choices", "gold"}), _numbered),
)


def read_benchmark(path: Path) -> list[Item]:
    """The items of one file.

    A benchmark is called by its file, by its folder where the file is called `data`, with the
    row's `set` behind it (arc-challenge, arc-easy). An item's family is its subject or concept;
    without one the item stands for itself. Raises RegrowError where no row is of a known shape.
    """
    stem = path.name.split(".")[0]
    benchmark = path.parent.name if stem == "data" else stem
    found = []
    for number, row in enumerate(read_rows(path)):
        asked = _read(row)
        if asked is not None:
            name = "-".join([benchmark, *([str(row["set"])] if row.get("set") else [])]).lower()
            found.append(_item(name, f"{name}|{number}", row, *asked))
    if not found:
        raise RegrowError(f"{path} holds no benchmark in a known shape; see docs/documents.md")
    return found


def read_benchmarks(paths: Sequence[Path]) -> list[Item]:
    """The items of all files, in order."""
    return [item for path in paths for item in read_benchmark(path)]


def _read(row: Row) -> Asked | None:
    """Question, choices and right place of a row; None where it has no known shape or no sense."""
    shape = next((read for keys, read in _SHAPES if keys <= row.keys()), None)
    try:
        question, choices, gold = shape(row) if shape else ("", [], -1)
    except (ValueError, TypeError, AttributeError):
        return None
    question = _LABEL.sub("", question).strip().removesuffix("Answer:").rstrip()
    choices = [choice.strip() for choice in choices]
    whole = question and len(choices) > 1 and all(choices) and 0 <= gold < len(choices)
    return (question, choices, gold) if whole else None


def _item(
    benchmark: str, id_: str, row: Row, question: str, choices: Sequence[str], gold: int
) -> Item:
    theme = row.get("subject") or row.get("concept")
    check: Mapping[str, Any] = {"choices": list(choices), "gold": gold}
    return Item(
        id_, "benchmarks", f"{benchmark}/{theme}" if theme else id_, id_, question,
        (choices[gold],), {"benchmark": benchmark}, check=check,
    )  # fmt: skip
