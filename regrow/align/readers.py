"""Conversations, prompts and comparisons out of the files people have.

Every row is read, or set aside with its number and why (`Tally`); nothing is mended in silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from regrow.align.shapes import (
    Malformed,
    Turns,
    check,
    conversations_of,
    messages,
    root_of,
    said,
    text,
    turn_of,
)
from regrow.align.tables import Row, Tally, numbered
from regrow.errors import RegrowError
from regrow.files import read_jsonl
from regrow.records import Conversation, Message

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Answers to one prompt, with numbers that order them: higher is better."""

    prompt: Conversation
    answers: tuple[str, ...]
    ratings: tuple[float, ...]


def read_demonstrations(path: Path, tally: Tally | None = None) -> list[Conversation]:
    """All demonstrations and dialogues of a file or folder; `tally` counts its rows.

    A conversation's key is the name of its set and the number of its row. Raises RegrowError where
    there is none.
    """
    found = [
        Conversation(tuple(turns), _family(path, row), "real", f"{set_name(path)}|{number}")
        for number, row, turns in _each(path, tally, conversations_of)
    ]
    if not found:
        raise RegrowError(f"{path} holds no demonstration in a known shape; see docs/documents.md")
    return found


def read_prompts(path: Path, tally: Tally | None = None) -> list[Conversation]:
    """Prompts without answers: rows with `prompt`, or demonstrations with the answer cut off."""
    name = set_name(path)
    return [
        Conversation(tuple(turns), name, "real", f"{name}|{number}")
        for number, _, turns in _each(path, tally, _prompts_of)
    ]


def read_comparisons(path: Path, tally: Tally | None = None) -> list[Comparison]:
    """Comparisons: chosen and rejected transcripts, ranked reply trees, or pairs with a label."""
    found = [
        Comparison(
            Conversation(tuple(turns), set_name(path), "real", f"{set_name(path)}|{number}"),
            answers,
            ratings,
        )
        for number, _, (turns, answers, ratings) in _each(path, tally, _comparisons_of)
    ]
    if not found:
        raise RegrowError(f"{path} holds no comparison in a known shape; see docs/documents.md")
    return found


def set_name(path: Path) -> str:
    """What a set of data is called: by its file, by its folder where that says more."""
    stem = path.name.split(".")[0]
    return path.parent.name if stem in ("data", "instances", "train") else stem


def _family(path: Path, row: Row) -> str:
    return str(row.get("family") or row.get("task") or row.get("task_name") or set_name(path))


def _each(
    path: Path, tally: Tally | None, of: Callable[[Row], Sequence[Found]]
) -> Iterator[tuple[int, Row, Found]]:
    """(row number, row, what is in it) for all that a file holds; other rows are set aside."""
    tally = tally if tally is not None else Tally(path.name)
    for number, row in _with_definitions(path, numbered(path, tally)):
        try:
            found = said(of, row)
        except Malformed as why:
            tally.add(number, str(why))
        else:
            yield from ((number, row, one) for one in found)


def _with_definitions(path: Path, rows: Iterable[tuple[int, Row]]) -> Iterator[tuple[int, Row]]:
    """Natural Instructions: each instance with its task's definition, from the file beside it."""
    tasks = path.with_name("tasks" + "".join(path.suffixes))
    definitions = {}
    if path.name.startswith("instances") and tasks.is_file():
        definitions = {row["task"]: row["definition"] for row in read_jsonl(tasks)}
    for number, row in rows:
        known = isinstance(task := row.get("task"), str) and task in definitions
        yield number, {**row, "definition": definitions[task]} if known else row


def _prompts_of(row: Row) -> list[Turns]:
    if isinstance(row.get("prompt"), str):
        turns = [Message("user", text(row, "prompt"))]
        check(turns, "user")
        return [turns]
    return [turns[:-1] for turns in conversations_of(row)]


#: Prompt, answers, and numbers that order them.
_Compared = tuple[Turns, tuple[str, ...], tuple[float, ...]]


def _comparisons_of(row: Row) -> list[_Compared]:
    if {"chosen", "rejected"} <= row.keys():
        return [_chosen_rejected(row)]
    if "tree" in row or "message_tree_id" in row:
        if not (found := list(_ranked(root_of(row), []))):
            raise Malformed("no ranked answers")
        return found
    if {"input", "output_1", "output_2", "label"} <= row.keys():
        asked = [Message("user", text(row, "input"))]
        better = float(str(row["label"]) == "1")
        return [
            _compared(asked, [text(row, "output_1"), text(row, "output_2")], [better, 1 - better])
        ]
    raise Malformed("unknown shape")


def _compared(prompt: Turns, answers: Sequence[str], ratings: Sequence[float]) -> _Compared:
    for answer in answers:
        check([*prompt, Message("assistant", answer)])
    return prompt, tuple(answers), tuple(ratings)


def _chosen_rejected(row: Row) -> _Compared:
    """Two transcripts, as Anthropic's texts or as messages, that differ in the last answer."""
    better, worse = (_transcript(row, key) for key in ("chosen", "rejected"))
    if better[:-1] != worse[:-1] or not better:
        raise Malformed("chosen and rejected differ before the last answer")
    return _compared(better[:-1], [better[-1].content, worse[-1].content], [1.0, 0.0])


def _transcript(row: Row, key: str) -> Turns:
    """Turns parted by blank line, speaker, colon; or an answer beside the row's `prompt`."""
    if isinstance(row[key], list):
        return messages(row[key])
    parts = re.split(r"(?:^|\n\n)(Human|Assistant): ?", row[key])[1:]
    if not parts and isinstance(row.get("prompt"), str):
        return [Message("user", text(row, "prompt")), Message("assistant", text(row, key))]
    roles = {"Human": "user", "Assistant": "assistant"}
    return [Message(roles[who], what.strip()) for who, what in zip(parts[::2], parts[1::2])]


def _ranked(node: Row, before: Turns) -> Iterator[_Compared]:
    """Every prompter turn of a tree whose replies are ranked (rank 0 is best), at any depth."""
    path = [*before, turn_of(node)]
    replies = node.get("replies") or []
    ranked = [one for one in replies if one.get("rank") is not None and text(one, "text")]
    if path[-1].role == "user" and len(ranked) > 1:
        ratings = [-float(one["rank"]) for one in ranked]
        yield _compared(path, [text(one, "text") for one in ranked], ratings)
    for reply in replies:
        yield from _ranked(reply, path)
