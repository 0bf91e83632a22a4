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
_LETTER = r"[^\W\d_](?![^\W\d_])"  # alone it is a variable
#: What makes a number part of something longer: of a fraction, a time, a formula, another number.
_GOES_ON = re.compile(rf"_|{_LETTER}|[,.:]\d|\s*[-+*/^=×÷−–]\s*(?:[\d(\\]|{_LETTER})|\s+\d")
_WORD = r"(?!(?:and|or|to|plus|minus|times)\b)[^\W\d_]+"
#: What may follow a number to the end of the text: its unit, in some words.
_UNIT = re.compile(rf"\s?[%°]?(?:\s?{_WORD}(?:\s+{_WORD}){{0,3}})?\s*[.!]?\s*")
_GROUPED = re.compile(r"-?\$?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?")


def final_number(text: str) -> Decimal | None:
    """The number after the last 'the answer is' or '####' (GSM8K), else the last number of all.

    None where there is none. Commas between digits and a dollar sign before them do not count.
    """
    found = _STATED.findall(text) or _ANY.findall(text)
    return Decimal(found[-1].replace(",", "").replace("$", "")) if found else None


def right_number(prompt: Conversation, answer: str) -> bool:
    """Whether an answer's final number is the one that the prompt's check holds, and no part of
    something longer."""
    *_, stated = [None, *_STATED.finditer(answer)]
    if stated and _GOES_ON.match(answer, stated.end()):
        return False
    return final_number(answer) == Decimal(prompt.check["answers"][0])


def closing_number(text: str) -> Decimal | None:
    """The number that a text ends with as its answer: 'The answer is 72 miles.', '#### 72'.

    None where the answer is more than one number and its unit, or is not the end.
    """
    *_, stated = [None, *_STATED.finditer(text)]
    if not stated or _GOES_ON.match(text, stated.end()) or not _GROUPED.fullmatch(stated[1]):
        return None
    return final_number(stated[0]) if _UNIT.fullmatch(text, stated.end()) else None


def verifiable(demonstrations: Iterable[Conversation]) -> list[Conversation]:
    """Prompts that can be verified, out of demonstrations; the others are left out."""
    found = []
    for one in demonstrations:
        *asked, answer = one.messages
        check = dict(one.check)
        if "tests" in check:
            check["kind"] = "program"
        elif (number := closing_number(answer.content)) is not None:
            check = {"kind": "number", "answers": [str(number)]}
        else:
            continue
        found.append(Conversation(tuple(asked), one.family, one.kind, one.key, check))
    return found
