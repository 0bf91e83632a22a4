"""Conversations and comparisons out of the files people have: one reader for each shape of row.

The shape is told by the keys of the row, never by the name of the file. A row of no known shape
or with an empty text is counted and left out.
"""

from __future__ import annotations

import gzip
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.files import read_jsonl
from regrow.records import Conversation, Message

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Answers to one prompt, with numbers that order them: higher is better."""

    prompt: Conversation
    answers: tuple[str, ...]
    ratings: tuple[float, ...]


def _turns(*pairs: tuple[str, str]) -> list[Message]:
    return [Message(role, text.strip()) for role, text in pairs]


def _alternating(texts: Sequence[str]) -> list[Message]:
    """Speakers in turn, the first as user; what follows the last answer is dropped."""
    roles = itertools.cycle(("user", "assistant"))
    turns = _turns(*zip(roles, texts))
    return turns if len(turns) % 2 == 0 else turns[:-1]


def _instruction(row: Row) -> list[Message]:
    asked = f"{row['instruction']}\n\n{row['input']}" if row.get("input") else row["instruction"]
    answer = row.get("response") or row.get("output") or ""
    return _turns(("user", asked), ("assistant", answer))


def _gsm8k(row: Row) -> list[Message]:
    """Worked answers with GSM8K's calculator marks taken out and its last line put in words."""
    worked = re.sub(r"<<[^>]*>>", "", row["answer"])
    worked = re.sub(r"\n#### *(.+)$", r"\nThe answer is \1.", worked)
    return _turns(("user", row["question"]), ("assistant", worked))


def _rationale(row: Row) -> list[Message]:
    answer = f"{row['rationale']}\nThe answer is {row['answer']}."
    return _turns(("user", row["question"]), ("assistant", answer))


def _speakers(row: Row) -> list[Message]:
    """Dialogues as rows of speaker and text; runs of one speaker are joined."""
    spoken = itertools.groupby(row["turns"], key=lambda turn: turn["speaker"])
    return _alternating(["\n".join(turn["text"] for turn in turns) for _, turns in spoken])


def _human_assistant(text: str) -> list[Message]:
    """Anthropic's transcript: blank line, speaker, colon."""
    parts = re.split(r"\n\n(Human|Assistant): ?", text)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return _turns(*((roles[who], said) for who, said in zip(parts[::2], parts[1::2])))


#: (keys that must be there, how the row becomes turns), the most telling first.
_DEMONSTRATIONS: tuple[tuple[frozenset[str], Callable[[Row], list[Message]]], ...] = (
    (frozenset({"messages"}), lambda r: _turns(
        *((m["role"], m["content"]) for m in r["messages"]))),
    (frozenset({"conversations"}), lambda r: _turns(
        *(({"human": "user", "gpt": "assistant"}.get(m["from"], m["from"]), m["value"])
          for m in r["conversations"]))),
    (frozenset({"instruction", "instances"}), lambda r: _instruction(
        {"instruction": r["instruction"], **r["instances"][0]})),
    (frozenset({"instruction", "response"}), _instruction),
    (frozenset({"instruction", "output"}), _instruction),
    (frozenset({"question", "answer", "rationale"}), _rationale),
    (frozenset({"question", "answer"}), _gsm8k),
    (frozenset({"prompt", "completion"}), lambda r: _turns(
        ("user", r["prompt"]), ("assistant", r["completion"]))),
    (frozenset({"definition", "input", "output"}), lambda r: _turns(
        ("user", f"{r['definition']}\n\n{r['input']}"), ("assistant", _first(r["output"])))),
    (frozenset({"turns"}), _speakers),
)  # fmt: skip


def _first(value: Any) -> str:
    return str(value[0]) if isinstance(value, list) else str(value)


def _usable(turns: Sequence[Message], last: str) -> bool:
    return bool(turns) and turns[-1].role == last and all(turn.content for turn in turns)


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a JSON-lines file; natural-instructions instances get their task's definition."""
    if not path.is_file():
        raise RegrowError(f"{path} is missing; check the paths under `data` in the recipe")
    tasks = path.with_name("tasks" + "".join(path.suffixes))
    definitions = {}
    if path.name.startswith("instances") and tasks.is_file():
        definitions = {row["task"]: row["definition"] for row in read_jsonl(tasks)}
    try:
        for row in read_jsonl(path):
            known = row.get("task") in definitions
            yield {**row, "definition": definitions[row["task"]]} if known else row
    except (gzip.BadGzipFile, EOFError, UnicodeDecodeError) as error:
        raise RegrowError(f"{path} cannot be read ({error}); replace the file") from error


def read_demonstrations(path: Path, skipped: Counter[str] | None = None) -> list[Conversation]:
    """All demonstrations and dialogues of a file; what is left out is counted by reason."""
    skipped = skipped if skipped is not None else Counter()
    found = []
    for number, row in enumerate(read_rows(path)):
        shape = next((read for keys, read in _DEMONSTRATIONS if keys <= row.keys()), None)
        if shape is None:
            skipped["unknown shape"] += 1
            continue
        turns = shape(row)
        if not _usable(turns, "assistant"):
            skipped["empty or without an answer"] += 1
            continue
        family = str(row.get("family") or row.get("task") or path.parent.name)
        found.append(Conversation(tuple(turns), family, "real", f"{path.parent.name}|{number}"))
    if not found:
        raise RegrowError(f"{path} holds no demonstration in a known shape; see docs/documents.md")
    return found


def read_prompts(path: Path) -> list[Conversation]:
    """Prompts without answers: rows with `prompt`, or demonstrations with the answer cut off."""
    found = []
    for number, row in enumerate(read_rows(path)):
        if isinstance(row.get("prompt"), str):
            turns: list[Message] = _turns(("user", row["prompt"]))
        else:
            shape = next((read for keys, read in _DEMONSTRATIONS if keys <= row.keys()), None)
            turns = shape(row)[:-1] if shape else []
        if _usable(turns, "user"):
            name = path.parent.name
            found.append(Conversation(tuple(turns), name, "real", f"{name}|{number}"))
    return found


def read_comparisons(path: Path) -> list[Comparison]:
    """Comparisons: chosen and rejected transcripts, ranked reply trees, or pairs with a label."""
    found: list[Comparison] = []
    for number, row in enumerate(read_rows(path)):
        key = f"{path.parent.name}|{number}"
        if {"chosen", "rejected"} <= row.keys():
            found += _chosen_rejected(row, key)
        elif "tree" in row:
            found += _tree(row["tree"], (), key)
        elif {"input", "output_1", "output_2", "label"} <= row.keys():
            asked = Conversation((Message("user", row["input"]),), path.parent.name, "real", key)
            better = str(row["label"]) == "1"
            answers = (row["output_1"], row["output_2"])
            found.append(Comparison(asked, answers, (float(better), float(not better))))
    if not found:
        raise RegrowError(f"{path} holds no comparison in a known shape; see docs/documents.md")
    return found


def _chosen_rejected(row: Row, key: str) -> list[Comparison]:
    if not isinstance(row["chosen"], str):
        return []
    better, worse = _human_assistant(row["chosen"]), _human_assistant(row["rejected"])
    same = better[:-1] == worse[:-1]
    if not (same and _usable(better, "assistant") and _usable(worse, "assistant")):
        return []
    prompt = Conversation(tuple(better[:-1]), "preferences", "real", key)
    return [Comparison(prompt, (better[-1].content, worse[-1].content), (1.0, 0.0))]


def _tree(node: Row, before: tuple[Message, ...], key: str) -> list[Comparison]:
    """Every prompter turn whose replies are ranked (rank 0 is best), at any depth."""
    role = "user" if node["role"] == "prompter" else "assistant"
    path = (*before, Message(role, node["text"].strip()))
    replies = node.get("replies") or []
    here = []
    ranked = [reply for reply in replies if reply.get("rank") is not None and reply["text"].strip()]
    if role == "user" and len(ranked) > 1 and all(turn.content for turn in path):
        prompt = Conversation(path, "preferences", "real", f"{key}|{len(path)}")
        answers = tuple(reply["text"].strip() for reply in ranked)
        here.append(Comparison(prompt, answers, tuple(-float(r["rank"]) for r in ranked)))
    for reply in replies:
        here += _tree(reply, path, key)
    return here
