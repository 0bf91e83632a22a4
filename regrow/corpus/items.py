"""Evaluation items out of the files people have, to be kept out of a corpus."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.files import read_jsonl
from regrow.records import Item

Row = Mapping[str, Any]

QUESTIONS = ("question", "query", "prompt", "instruction", "goal", "text")
ANSWERS = ("answers", "answer", "output", "completion")
_ITEM = {"id", "ability", "family", "key", "question", "answers"}


def read_items(paths: Sequence[Path]) -> list[Item]:
    """The items of files, folders (their .jsonl and .txt files) and globs, in order.

    A JSONL row has a question (or query, prompt, text ...) and may have answers; with `choices`,
    each is looked for after the question. In any other file a line is an item. Raises RegrowError
    on a path that does not exist and on a file without items.
    """
    return [item for path in paths for file in _files(path) for item in _read(file)]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        names = (".jsonl", ".jsonl.gz", ".txt", ".txt.gz")
        found = [file for file in sorted(path.rglob("*")) if file.name.endswith(names)]
    else:
        found = sorted(path.parent.glob(path.name))
    if not found:
        raise RegrowError(f"{path} holds no items; give JSONL or text files, one item a line")
    return found


def _read(path: Path) -> list[Item]:
    stem = path.name.split(".")[0]
    name = path.parent.name if stem == "data" else stem
    lines = path.name.endswith((".jsonl", ".jsonl.gz", ".ndjson"))
    try:
        rows = read_jsonl(path) if lines else ({"text": line} for line in _lines(path))
        found = [
            item for number, row in enumerate(rows, 1) if (item := _item(name, number, row, path))
        ]
    except (gzip.BadGzipFile, EOFError, UnicodeDecodeError) as error:
        raise RegrowError(f"{path} cannot be read ({error}); replace the file") from error
    if not found:
        raise RegrowError(f"{path} holds no items; give one a line, or take the file out")
    return found


def _lines(path: Path) -> Iterator[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        yield from file


def _item(name: str, number: int, row: Row, path: Path) -> Item | None:
    if not isinstance(row, dict):
        raise RegrowError(f"{path} line {number} is no row; write {{'question': ..., ...}}")
    if row.keys() >= _ITEM:
        return Item.from_row(row)
    question = next((str(row[key]).strip() for key in QUESTIONS if row.get(key)), "")
    if not question and "text" not in row:
        raise RegrowError(
            f"{path} line {number} has no question; name it one of {', '.join(QUESTIONS)}"
        )
    id_ = f"{name}|{row.get('id', number)}"
    return Item(id_, name, name, id_, question, _answers(row)) if question else None


def _answers(row: Row) -> tuple[str, ...]:
    """Every choice where there are some, for a letter tells nothing; else the answers."""
    value = row.get("choices") or next((row[key] for key in ANSWERS if row.get(key)), ())
    if isinstance(value, Mapping):  # ARC's `text` beside their labels, or one a label
        value = value["text"] if "text" in value else list(value.values())
    return tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),)
