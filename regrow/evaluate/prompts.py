"""How an item becomes text: the plain formats of its ability, or what a tuned node's user says.

Items are dealt over the templates of their ability by a hash of their id (or every item is asked in
all of them), and the mean over templates is reported with the spread, never the best one (research:
a single format moves scores by tens of points). Where the world words its questions in several ways
itself, these wordings are the templates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeVar

from regrow.evaluate.abilities import find
from regrow.records import Item
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


@cache
def templates(ability: str) -> tuple[Template, ...]:
    """The plain formats of an ability; an answer on a line of its own takes no space along."""
    known = find(ability)
    found = []
    for name, text in known.templates.items():
        answer = known.answer.lstrip(" ") if text.endswith("\n") else known.answer
        found.append(
            Template(
                name, text.replace("{{ q }}", "{q}"), answer.replace("{{ a }}", "{a}"),
                known.stop, known.between,
            )
        )  # fmt: skip
    return tuple(found)


def dealt(ability: str, item: Item, every: bool) -> Sequence[Template]:
    """The formats that an item is asked in: the one it is dealt, or all.

    Where there is only one, the item's own wording tells the prompts apart.
    """
    found = templates(ability)
    if len(found) == 1:
        return [replace(found[0], name=item.wording or found[0].name)]
    return pick(found, item, every)


def turns(
    ability: str, item: Item, every: bool, question: str, manner: str = ""
) -> list[tuple[str, str]]:
    """(name, text) of the user's turn in the form that an item is dealt, or in all."""
    given: Mapping[str, str] = find(ability).turns
    return [
        (name, given[name].replace("{{ manner }}", manner).replace("{{ q }}", question))
        for name in pick(list(given), item, every)
    ]


def pick(found: Sequence[T], item: Item, every: bool) -> Sequence[T]:
    """All of them, or the one that the hash of the item's id deals it."""
    return found if every else [found[derive("template", item.id) % len(found)]]


def pattern(name: str, text: str) -> Template:
    """A template from a pair format that holds {x} and {y}, e.g. `{x} -> {y}`.

    The space before {y} goes with the answer, where a byte-level tokenizer puts it.
    """
    before, after = text.split("{y}", 1)
    head = before.rstrip(" ")
    stop = after.split("{x}")[0] or "\n"
    answer = before[len(head) :] + "{a}" + after
    answer = answer if answer.endswith("\n") else answer + "\n"
    stops = tuple(dict.fromkeys((stop.strip(" ") or "\n", "\n")))
    return Template(name, head.replace("{x}", "{q}"), answer, stops)


def pair_templates(item: Item) -> tuple[Template, ...]:
    """The item's own pair format first, then two of those that such pairs are known in."""
    own = pattern_of(item.check.get("format", "{x} -> {y}"))
    known = item.check.get("formats")
    others = map(pattern_of, known) if known else templates("in_context")
    return tuple({one.name: one for one in (own, *others)}.values())[:3]


def pattern_of(text: str) -> Template:
    """The template of a pair format, called by its text in one line."""
    return pattern(text.replace("\n", " / "), text)
