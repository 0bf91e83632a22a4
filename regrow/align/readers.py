"""Conversations, prompts and comparisons out of the files people have.

Every row is read, or set aside with its number and why (`Tally`); nothing is mended in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from regrow.align.shapes import (
    Malformed,
    Turns,
    after_system,
    asked,
    check,
    conversations_of,
    messages,
    numeric,
    root_of,
    said,
    text,
    transcript,
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
    tally = tally or Tally(path.name)
    found = [
        Conversation(tuple(turns), _family(path, row), "real", f"{set_name(path)}|{number}")
        for number, row, turns in _each(path, tally, conversations_of)
    ]
    return _some(found, path, "demonstration", tally)


def read_prompts(path: Path, tally: Tally | None = None) -> list[Conversation]:
    """Prompts without answers: rows with `prompt`, or demonstrations with the answer cut off."""
    name, tally = set_name(path), tally or Tally(path.name)
    return [
        Conversation(tuple(turns), name, "real", f"{name}|{number}")
        for number, _, turns in _each(path, tally, _prompts_of)
    ]


def read_comparisons(path: Path, tally: Tally | None = None) -> list[Comparison]:
    """Comparisons: chosen and rejected transcripts, ranked reply trees, or pairs with a label.

    Raises RegrowError where there is none.
    """
    tally = tally or Tally(path.name)
    found = [
        Comparison(
            Conversation(tuple(turns), set_name(path), "real", f"{set_name(path)}|{number}"),
            answers,
            ratings,
        )
        for number, _, (turns, answers, ratings) in _each(path, tally, _comparisons_of)
    ]
    return _some(found, path, "comparison", tally)


def _some(found: list[Found], path: Path, what: str, tally: Tally) -> list[Found]:
    """What was found. Raises RegrowError where that is nothing, with the commonest reason."""
    if found:
        return found
    reasons = Counter(one.reason for one in tally.aside).most_common(1)
    why = f" ({reasons[0][1]:,} of {tally.rows:,} rows: {reasons[0][0]})" if reasons else ""
    raise RegrowError(f"{path} holds no {what} in a known shape{why}; see docs/documents.md")


def set_name(path: Path) -> str:
    """What a set of data is called: by its file, by its folder where that says more."""
    stem = path.name.split(".")[0]
    return path.parent.name if stem in ("data", "instances", "train") else stem


def _family(path: Path, row: Row) -> str:
    return str(row.get("family") or row.get("task") or row.get("task_name") or set_name(path))


def _each(
    path: Path, tally: Tally, of: Callable[[Row], Sequence[Found]]
) -> Iterator[tuple[int, Row, Found]]:
    """(row number, row, what is in it) for all that a file holds; other rows are set aside."""
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
        told = (row for row in read_jsonl(tasks) if isinstance(row.get("task"), str))
        definitions = {row["task"]: row["definition"] for row in told if "definition" in row}
    for number, row in rows:
        known = isinstance(task := row.get("task"), str) and task in definitions
        yield number, {**row, "definition": definitions[task]} if known else row


def _prompts_of(row: Row) -> list[Turns]:
    if isinstance(row.get("prompt"), str):
        turns = after_system(row, asked(row))
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
        answers = [text(row, "output_1"), text(row, "output_2")]
        first = float(_first(row["label"]))
        return [_compared([Message("user", text(row, "input"))], answers, [first, 1 - first])]
    raise Malformed("unknown shape")


def _first(label: Any) -> bool:
    """Whether a label, 1 or 2 (as a number or as text), names the first answer."""
    if isinstance(label, bool) or label not in (1, 2, "1", "2"):
        raise Malformed(f"label {label!r} is neither 1 nor 2")
    return label in (1, "1")


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
    """A transcript, as messages or as Anthropic's text, or an answer to the row's `prompt`."""
    if isinstance(row[key], list):
        return messages(row[key])
    turns = transcript(answer := text(row, key))
    if isinstance(row.get("prompt"), str):
        turns = turns if turns[:-1] == asked(row) else [*asked(row), Message("assistant", answer)]
    return after_system(row, turns)


def _ranked(node: Row, before: Turns) -> Iterator[_Compared]:
    """Every prompter turn of a tree whose replies are ranked (rank 0 is best), at any depth."""
    path = [*before, turn_of(node)]
    replies = node.get("replies") or []
    ranked = [one for one in replies if one.get("rank") is not None and text(one, "text")]
    if path[-1].role == "user" and len(ranked) > 1:
        ratings = [-numeric(one, "rank") for one in ranked]
        yield _compared(path, [text(one, "text") for one in ranked], ratings)
    for reply in replies:
        yield from _ranked(reply, path)
