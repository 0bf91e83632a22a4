"""Answers that can be verified: which demonstrations hold one, and whether a number is right.

A demonstration that ends `The answer is 72.` becomes a prompt whose check is that number; one whose
check holds tests of a program keeps those. Programs are run elsewhere (regrow.evaluate.sandbox).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

from regrow.records import Conversation

_NUMBER = r"(-?\$?\d[\d,]*(?:\.\d+)?|-?\$?\.\d+)"
_STATED = re.compile(rf"(?:answer is:?|####)\s*{_NUMBER}", re.IGNORECASE)
_ANY = re.compile(rf"(?<![\w.]){_NUMBER}")


def final_number(text: str) -> Decimal | None:
    """The number after the last 'the answer is' or '####' (GSM8K), else the last number of all.

    None where there is none. Commas between digits and a dollar sign before them do not count.
    """
    found = _STATED.findall(text) or _ANY.findall(text)
    return Decimal(found[-1].replace(",", "").replace("$", "")) if found else None


def right_number(prompt: Conversation, answer: str) -> bool:
    """Whether an answer's final number is the one that the prompt's check holds."""
    return final_number(answer) == Decimal(prompt.check["answers"][0])


def verifiable(demonstrations: Iterable[Conversation]) -> list[Conversation]:
    """Prompts that can be verified, out of demonstrations; the others are left out."""
    found = []
    for one in demonstrations:
        *asked, answer = one.messages
        check = dict(one.check)
        if "tests" in check:
            check["kind"] = "program"
        elif stated := _STATED.findall(answer.content):
            number = final_number(f"The answer is {stated[-1]}")
            check = {"kind": "number", "answers": [str(number)]}
        else:
            continue
        found.append(Conversation(tuple(asked), one.family, one.kind, one.key, check))
    return found
