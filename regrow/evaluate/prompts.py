"""How an item becomes text: plain few-shot and question formats, transcripts, chat turns.

Every few-shot ability has at least three templates. Items are dealt over the templates by a hash
of their id (or every item is asked in all of them), and the mean over templates is reported with
the spread, never the best one (research: a single format moves scores by tens of points).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from regrow.records import Item, Message
from regrow.seeds import derive

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Template:
    """`question` holds {q}; an answer follows as `answer` with {a}; generation ends at `stop`."""

    name: str
    question: str
    answer: str
    stop: tuple[str, ...] = ("\n",)
    between: str = ""  # what stands between shots

    def ask(self, question: str) -> str:
        """The text that ends right before the answer."""
        return self.question.replace("{q}", question)

    def shot(self, question: str, answer: str) -> str:
        """A solved example."""
        return self.ask(question) + self.answer.replace("{a}", answer) + self.between


QUESTION = (
    Template("Q/A", "Q: {q}\nA:", " {a}\n"),
    Template("Question/Answer", "Question: {q}\nAnswer:", " {a}\n"),
    Template("bare", "{q}", " {a}\n"),
)

#: Formats in which a base node is asked a question it must answer at length, without examples.
OPEN = (
    Template("Q/A", "Q: {q}\nA:", " {a}\n"),
    Template("Question/Answer", "Question: {q}\nAnswer:", " {a}\n"),
    Template("User/Assistant", "User: {q}\nAssistant:", " {a}\n"),
)

#: Plain formats for a zero-shot instruction; the best on separate items is used and named.
INSTRUCTION = (
    Template("Q/A", "Q: {q}\nA:", " {a}\n"),
    Template("line", "{q}\n", "{a}\n"),
    Template("arrow", "{q} ->", " {a}\n"),
    Template("Question/Answer", "Question: {q}\nAnswer:", " {a}\n"),
    Template("same line", "{q}", " {a}\n"),
    Template("Task/Answer", "Task: {q}\nAnswer:", " {a}\n"),
    Template("Input/Output", "Input: {q}\nOutput:", " {a}\n"),
    Template("User/Assistant", "User: {q}\nAssistant:", " {a}\n"),
)

PROBLEM = (
    Template("Q/A", "Q: {q}\nA:", " {a}\n", ("\n",), "\n"),
    Template("Problem/Answer", "Problem: {q}\nAnswer:", " {a}\n", ("\n",), "\n"),
    Template("bare", "{q}\n", "{a}\n", ("\n",), "\n"),
)

TRANSCRIPT = (
    ("User/Assistant", "User: ", "Assistant:"),
    ("A/B", "A: ", "B:"),
    ("Q/A", "Q: ", "A:"),
)


def pick(templates: Sequence[T], item: Item, every: bool) -> Sequence[T]:
    """All templates, or the one that the hash of the item's id deals it."""
    return templates if every else [templates[derive("template", item.id) % len(templates)]]


def pattern(name: str, text: str) -> Template:
    """A template from a pair format that holds {x} and {y}, e.g. `{x} -> {y}`.

    The space before {y} goes with the answer, where a byte-level tokenizer puts it.
    """
    before, after = text.split("{y}", 1)
    head = before.rstrip(" ")
    stop = after.split("{x}")[0] or "\n"
    answer = before[len(head) :] + "{a}" + after
    answer = answer if answer.endswith("\n") else answer + "\n"
    return Template(name, head.replace("{x}", "{q}"), answer, (stop.strip(" ") or "\n", "\n"))


def pair_templates(item: Item) -> tuple[Template, ...]:
    """The item's own pair format first, then two of those that such pairs are known in."""
    own = item.check.get("format", "{x} -> {y}")
    known = item.check.get("formats", ("- {x} = {y}", "Input: {x}\nOutput: {y}", "* {x} -> {y}"))
    texts = dict.fromkeys((own, *known))
    return tuple(pattern(text.replace("\n", " / "), text) for text in list(texts)[:3])


def transcript(template: tuple[str, str, str], turns: Sequence[Message], question: str) -> str:
    """Earlier turns and the question as plain lines, ending right before the answer."""
    _, user, assistant = template
    lines = [
        f"{user}{turn.content}" if turn.role == "user" else f"{assistant} {turn.content}"
        for turn in turns
    ]
    return "\n".join([*lines, f"{user}{question}", assistant])
