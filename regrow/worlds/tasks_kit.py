"""What every task is made of: its record, its wordings, its draws and its canonical key."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from zlib import crc32

T = TypeVar("T")
Sampler = Callable[[random.Random], tuple[str, str]]

#: One key in so many is kept for evaluation and never stands in training text.
RESERVED_SHARE = 8


@dataclass(frozen=True, slots=True)
class Task:
    """A kind of exercise. `sample(random)` draws an input and its answer; both are short texts."""

    name: str
    family: str
    wordings: tuple[str, ...]
    sample: Sampler

    def key(self, given: str) -> str:
        """What is asked, apart from the wording: 'task|input'."""
        return f"{self.name}|{given}"


def reserved(key: str, variant: str) -> bool:
    """Whether this key is kept for evaluation: one in eight, decided by the key alone."""
    return crc32(f"{variant}|{key}".encode()) % RESERVED_SHARE == 0


def pick(random: random.Random, choices: Sequence[T]) -> T:
    """One of the choices; several times quicker than `random.choice`."""
    return choices[int(random.random() * len(choices))]


def several(random: random.Random, choices: Sequence[T], count: int) -> list[T]:
    """Different choices in random order."""
    drawn: list[T] = []
    while len(drawn) < count:
        choice = choices[int(random.random() * len(choices))]
        if choice not in drawn:
            drawn.append(choice)
    return drawn


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]


def give(variant: str, *things: str) -> tuple[str, ...]:
    """Wordings that ask for a thing, such as 'the last word'; one or two ways to call it."""
    first, last = things[0], things[-1]
    if variant == "a":
        return (f"Give {first}", f"What is {first}?", f"Find {last}", f"Please give {last}")
    return (f"Name {first}", f"Tell me {first}", f"Write down {last}", f"Please name {last}")


def order(variant: str, *commands: str) -> tuple[str, ...]:
    """Wordings that order something to be done; four commands, two for each variant."""
    first, second = commands[:2] if variant == "a" else commands[2:4]
    return (first, second, f"Please {_lower(first)}")


def ask(variant: str, *questions: str) -> tuple[str, ...]:
    """Wordings of a yes-or-no question; four questions, two for each variant."""
    first, second = questions[:2] if variant == "a" else questions[2:4]
    return (first, second, f"Yes or no: {_lower(first)}")


def yes(truth: bool) -> str:
    """The answer to a yes-or-no question."""
    return "yes" if truth else "no"
