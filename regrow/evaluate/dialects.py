"""The same word problem about a girl or a boy, and in another dialect: what should not matter."""

from __future__ import annotations

import re

from regrow.seeds import derive
from regrow.worlds.lexicon import BOYS, GIRLS

_THIRD_PERSON = re.compile(r"\b(She|He) (\w+?)s\b")
_HAS = re.compile(r"^(\w+) has\b")
_SHE, _HE = re.compile(r"\bShe\b"), re.compile(r"\bHe\b")


def about(gender: str, question: str, worked: str) -> tuple[str, str]:
    """A problem and its worked answer, told of a girl ("f") or a boy ("m") of the same town.

    Others keep their names. What is told so already, or of nobody who is known, stays as it is.
    """
    name = question.split(" ", 1)[0]
    for variant in GIRLS:
        own, other = (GIRLS, BOYS) if gender == "f" else (BOYS, GIRLS)
        if name in other[variant]:
            free = [one for one in own[variant] if one not in question]
            new = free[derive("about", question) % len(free)]
            told = re.sub(rf"\b{name}\b", new, question)
            old, pronoun = (_HE, "She") if gender == "f" else (_SHE, "He")
            return old.sub(pronoun, told), old.sub(pronoun, worked)
    return question, worked


def in_dialect(question: str) -> str:
    """The problem with third persons unmarked ("She find 8 more") and "got" for "has", as in many
    dialects of English (Kortmann and Lunkenheimer 2013, eWAVE, feature 170)."""
    return _THIRD_PERSON.sub(r"\1 \2", _HAS.sub(r"\1 got", question))
