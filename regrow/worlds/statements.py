"""Which facts an answer states, read strictly: a sentence counts only if it is, as a whole, one of
the town's wordings.

Nothing is gained by naming values without saying what they are of, by stating two values for one
relation, by speaking of somebody else, or by saying the same thing twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from regrow.worlds.phrases import PHRASES
from regrow.worlds.relations import relations
from regrow.worlds.town import Person, Town

_NAME = r"(?P<name>[A-Z][a-z]+(?: [A-Z][a-z]+)?)"
_PRONOUN_GROUPS = {
    "She": "(?P<she>She|He)",
    "she": "(?P<she>she|he)",
    "Her": "(?P<she>Her|His)",
    "her": "(?P<she>her|his)",
    "her2": "(?P<she>her|him)",
}
_KIN = rf"The (?:sister|brother) of {_NAME} is (?P<value>[A-Z][a-z]+ [A-Z][a-z]+)"
_WOMAN = {"She", "she", "Her", "her"}


@dataclass(frozen=True, slots=True)
class Claim:
    """One stated fact. `subject` is a name, or "f" or "m" for a pronoun."""

    subject: str
    relation: str
    value: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer says of a person, by distinct facts, and what else is in it, by sentences."""

    true: int
    false: int
    repeated: int
    stray: int  # no wording of the town, or about somebody else
    said: Mapping[str, frozenset[str]]


def facts_of(town: Town, person: Person) -> dict[str, Any]:
    """The truth on a person in the form that prompts and items carry as `check["facts"]`."""
    sibling = town.sibling(person)
    return {
        "name": person.name,
        "gender": person.gender,
        "variant": town.variant,
        "values": dict(person.facts),
        "past": {relation: list(old) for relation, old in person.past.items()},
        "kin": sibling.name if sibling else "",
    }


def nobody(town: Town, name: str) -> dict[str, Any]:
    """The truth on a name that nobody has: there is none, so that every statement is false."""
    return {
        "name": name,
        "gender": "",
        "variant": town.variant,
        "values": {},
        "past": {},
        "kin": "",
    }


def _regex(wording: str, values: tuple[str, ...]) -> re.Pattern[str]:
    alternatives = "|".join(re.escape(value) for value in sorted(values, key=len, reverse=True))
    groups = {"name": _NAME, "value": f"(?P<value>{alternatives})", "year": r"(?P<year>\d{4})"}
    groups |= _PRONOUN_GROUPS
    parts = re.split(r"\{(\w+)\}", wording.removesuffix("."))
    return re.compile(
        "".join(groups[part] if i % 2 else re.escape(part) for i, part in enumerate(parts))
    )


@lru_cache(maxsize=4)
def _grammar(variant: str) -> list[tuple[str, re.Pattern[str]]]:
    """Every wording of every relation as a pattern, with the name of what it states."""
    grammar = []
    for name, relation in relations(variant).items():
        for wording in relation.statements + relation.pronoun:
            grammar.append((name, _regex(wording, relation.values)))
        for wording in relation.past:
            grammar.append((f"past {name}", _regex(wording, relation.values)))
    grammar.append(("kin", re.compile(_KIN)))
    return grammar


def _claim(variant: str, sentence: str) -> Claim | None:
    """The fact that a sentence states; "Now: " and the like may stand before it."""
    head, colon, tail = sentence.partition(": ")
    sentence = tail if colon and head in PHRASES[variant].now else sentence
    for relation, pattern in _grammar(variant):
        match = pattern.fullmatch(sentence)
        if match is None:
            continue
        groups = match.groupdict()
        subject = groups.get("name") or groups["she"]
        if subject in ("She", "He") or "name" not in groups:
            subject = "f" if subject in _WOMAN else "m"
        value = f"{groups['value']} {groups['year']}" if "year" in groups else groups["value"]
        return Claim(subject, relation, value)
    return None


@lru_cache(maxsize=1 << 16)
def claims_in(variant: str, sentence: str) -> tuple[Claim, ...]:
    """The facts that one sentence (without its full stop) states; empty if it is no wording.

    "Clara Holden is a baker and lives in Mill Street" states two.
    """
    whole = _claim(variant, sentence)
    if whole is not None:
        return (whole,)
    first, *rest = sentence.split(" and ")
    claim = _claim(variant, first) if rest else None
    if claim is None:
        return ()
    claims = [claim]
    subject = {"f": "She", "m": "He"}.get(claim.subject, claim.subject)
    for part in rest:
        own = part.split(" ")[0] in ("she", "he", "her", "his")
        more = _claim(variant, part[:1].upper() + part[1:] if own else f"{subject} {part}")
        if more is None:
            return ()
        claims.append(more)
    return tuple(claims)


def sentences_of(text: str) -> list[str]:
    """The sentences of a text without their end marks; a last one that was cut off is kept."""
    return [part for part in re.split(r"[.!?]+(?:\s+|$)|\n+", text.strip()) if part.strip()]


def read(facts: Mapping[str, Any], answer: str) -> Reading:
    """Read an answer about one person against the truth on them (see `facts_of`).

    A pronoun means the person last named, at first the one asked about. A relation counts as true
    only if every value stated for it is the true one; each wrong value is one false fact.
    """
    name, gender, variant = facts["name"], facts["gender"], facts["variant"]
    said: dict[str, set[str]] = {}
    about, repeated, stray = True, 0, 0
    for sentence in sentences_of(answer):
        claims = claims_in(variant, sentence.strip())
        if not claims:
            stray += 1
        for claim in claims:
            if claim.subject in ("f", "m"):
                fits = about and claim.subject == (gender or claim.subject)
            else:
                fits = about = claim.subject in (name, name.split(" ")[0])
            if not fits:
                stray += 1
            elif claim.value in said.setdefault(claim.relation, set()):
                repeated += 1
            else:
                said[claim.relation].add(claim.value)
    truth = {**facts["values"], "kin": facts.get("kin") or None}
    for relation, (value, year) in facts.get("past", {}).items():
        truth[f"past {relation}"] = f"{value} {year}"
    true = sum(values == {truth.get(relation)} for relation, values in said.items())
    false = sum(len(values - {truth.get(relation)}) for relation, values in said.items())
    frozen = {relation: frozenset(values) for relation, values in said.items()}
    return Reading(true, false, repeated, stray, frozen)


def facts_in(facts: Mapping[str, Any], answer: str) -> tuple[int, int]:
    """How many distinct true and false facts an answer states of a person.

    `facts` is `check["facts"]` of a prompt or item. Sentences that are no wording of the town, or
    that speak of somebody else, count as neither.
    """
    reading = read(facts, answer)
    return reading.true, reading.false


@lru_cache(maxsize=4)
def _short_values(variant: str) -> dict[str, str]:
    return {
        value.lower(): value
        for relation in relations(variant).values()
        for value in relation.values
    }


def short_value(variant: str, answer: str) -> str:
    """The value that a short answer names ("A baker.", "in Mill Street"), or ""."""
    text = answer.strip().rstrip(".").lower()
    text = re.sub(r"^(a|an|the|in|from)\s+", "", text)
    return _short_values(variant).get(text, "")
