"""The values that flow between the rooms: documents, conversations, prompts and items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Document:
    """A text with where it came from."""

    id: str
    text: str
    source: str
    url: str = ""
    domain: str = ""
    format: str = "prose"  # prose, code, table, dialogue or list
    language: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. The role is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns to learn from or to answer.

    A demonstration ends with the assistant; a prompt ends with the user and carries in `check`
    what a rater needs to judge an answer.
    """

    messages: tuple[Message, ...]
    family: str = ""  # the cluster it belongs to, e.g. a task family
    kind: str = ""  # the task type within the family
    key: str = ""  # canonical key: what is asked, apart from wording
    check: Mapping[str, Any] = field(default_factory=dict)

    def to_row(self) -> dict[str, Any]:
        """Plain values, for a JSON line."""
        return asdict(self)

    @staticmethod
    def from_row(row: Mapping[str, Any]) -> Conversation:
        """What `to_row` gave."""
        messages = tuple(Message(m["role"], m["content"]) for m in row["messages"])
        return Conversation(
            messages,
            row.get("family", ""),
            row.get("kind", ""),
            row.get("key", ""),
            row.get("check", {}),
        )


@dataclass(frozen=True, slots=True)
class Item:
    """One evaluation item. It never enters training; `key` proves it.

    `shots` are (question, answer) pairs from the training side, most relevant last. `split` names
    the variant cells it counts in (steps, frequency, shots, distance ...). `messages` are earlier
    turns where the item is a dialogue. `check` is ability-specific truth (tests, facts, sides).
    `wording` says in which of its ability's wordings the question is (`regrow.worlds.wordings`);
    empty where the ability has none.
    """

    id: str
    ability: str
    family: str
    key: str
    question: str
    answers: tuple[str, ...]
    split: Mapping[str, str] = field(default_factory=dict)
    shots: tuple[tuple[str, str], ...] = ()
    messages: tuple[Message, ...] = ()
    check: Mapping[str, Any] = field(default_factory=dict)
    wording: str = ""

    def to_row(self) -> dict[str, Any]:
        """Plain values, for a JSON line."""
        return asdict(self)

    @staticmethod
    def from_row(row: Mapping[str, Any]) -> Item:
        """What `to_row` gave."""
        return Item(
            id=row["id"],
            ability=row["ability"],
            family=row["family"],
            key=row["key"],
            question=row["question"],
            answers=tuple(row["answers"]),
            split=row.get("split", {}),
            shots=tuple((q, a) for q, a in row.get("shots", ())),
            messages=tuple(Message(m["role"], m["content"]) for m in row.get("messages", ())),
            check=row.get("check", {}),
            wording=row.get("wording", ""),
        )
