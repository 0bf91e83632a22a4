"""What users tell about themselves, to be asked for it later.

Items ask for a few slots. In many more every value stands beside many things, so that training
teaches to read a value and not to guess it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from regrow.worlds import names
from regrow.worlds.lexicon import CATEGORIES, VERBS

_COLOURS = ("red", "blue", "green", "yellow", "white", "black", "brown", "grey", "pink", "gold")
_PET_NAMES = {
    "a": ("Rex", "Bo", "Fido", "Luna", "Max", "Bella", "Rocky", "Daisy", "Toby", "Lucky", "Molly"),
    "b": ("Ace", "Ruby", "Buddy", "Coco", "Jack", "Lola", "Duke", "Poppy", "Sam", "Star", "Misty"),
}
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_NUMBERS = tuple(str(number) for number in range(11, 100))
_KIN = ("teacher", "friend", "cousin", "mother", "father", "neighbour", "doctor", "boss")


@dataclass(frozen=True, slots=True)
class Slot:
    """Something that users tell about themselves, how they ask for it, and the answer."""

    name: str
    tell: str
    question: str
    answer: str
    values: tuple[str, ...]


# (name, what is told, question, answer, kind of value)
_ASKED = {
    "a": (
        ("dog", "My dog is called {v}.", "What is my dog called?", "Your dog is called {v}.",
         "pet"),
        ("cat", "My cat is called {v}.", "What is my cat called?", "Your cat is called {v}.",
         "pet"),
        ("sister", "My sister's name is {v}.", "What is my sister's name?",
         "Your sister's name is {v}.", "woman"),
        ("brother", "My brother's name is {v}.", "What is my brother's name?",
         "Your brother's name is {v}.", "man"),
        ("age", "I am {v} years old.", "How old am I?", "You are {v} years old.", "number"),
        ("house", "My house is {v}.", "What colour is my house?", "Your house is {v}.", "colour"),
        ("coat", "My coat is {v}.", "What colour is my coat?", "Your coat is {v}.", "colour"),
        ("room", "My room has the number {v}.", "What number has my room?",
         "Your room has the number {v}.", "number"),
        ("day", "I will travel on {v}.", "When will I travel?", "You will travel on {v}.", "day"),
    ),
    "b": (
        ("horse", "I call my horse {v}.", "What do I call my horse?", "You call your horse {v}.",
         "pet"),
        ("parrot", "I call my parrot {v}.", "What do I call my parrot?",
         "You call your parrot {v}.", "pet"),
        ("aunt", "I have an aunt named {v}.", "How is my aunt named?", "Your aunt is named {v}.",
         "woman"),
        ("uncle", "I have an uncle named {v}.", "How is my uncle named?",
         "Your uncle is named {v}.", "man"),
        ("price", "I paid {v} coins.", "How many coins did I pay?", "You paid {v} coins.",
         "number"),
        ("door", "I painted my door {v}.", "Which colour did I paint my door?",
         "You painted your door {v}.", "colour"),
        ("hat", "I wear a {v} hat.", "Which colour is the hat I wear?", "You wear a {v} hat.",
         "colour"),
        ("bus", "I take bus {v} home.", "Which bus do I take home?", "You take bus {v} home.",
         "number"),
        ("day", "My guests come on {v}.", "When do my guests come?", "Your guests come on {v}.",
         "day"),
    ),
}  # fmt: skip

# The same with {x}: (what is told, question, answer, words for {x}, kind of value)
_FRAMES = {
    "a": (
        ("My {x} is {v}.", "What colour is my {x}?", "Your {x} is {v}.",
         ("garment", "vehicle", "toy"), "colour"),
        ("My {x} is called {v}.", "What is my {x} called?", "Your {x} is called {v}.",
         ("animal", "vehicle"), "any name"),
        ("My {x}'s name is {v}.", "What is my {x}'s name?", "Your {x}'s name is {v}.",
         ("kin",), "any name"),
        ("My {x} has the number {v}.", "What number has my {x}?", "Your {x} has the number {v}.",
         ("vehicle", "furniture"), "number"),
        ("My {x} is {v} years old.", "How old is my {x}?", "Your {x} is {v} years old.",
         ("kin", "animal"), "number"),
        ("My {x} is in the {v}.", "Where is my {x}?", "Your {x} is in the {v}.",
         ("tool", "toy"), "place"),
        ("I will {x} on {v}.", "When will I {x}?", "You will {x} on {v}.", ("verb",), "day"),
    ),
    "b": (
        ("I painted my {x} {v}.", "Which colour did I paint my {x}?", "You painted your {x} {v}.",
         ("furniture", "vehicle", "toy"), "colour"),
        ("I call my {x} {v}.", "What do I call my {x}?", "You call your {x} {v}.",
         ("animal", "vehicle"), "any name"),
        ("I have a {x} named {v}.", "How is my {x} named?", "Your {x} is named {v}.",
         ("kin",), "any name"),
        ("I paid {v} coins for my {x}.", "How many coins did I pay for my {x}?",
         "You paid {v} coins for your {x}.", ("tool", "garment"), "number"),
        ("My {x} has bus {v}.", "Which bus has my {x}?", "Your {x} has bus {v}.",
         ("kin",), "number"),
        ("My {x} stands in the {v}.", "Where does my {x} stand?", "Your {x} stands in the {v}.",
         ("vehicle", "toy"), "place"),
        ("I {x} on {v}.", "When do I {x}?", "You {x} on {v}.", ("verb",), "day"),
    ),
}  # fmt: skip


@lru_cache(maxsize=4)
def slots(variant: str) -> tuple[Slot, ...]:
    """The slots of a world variant that items ask for."""
    values = _values(variant)
    return tuple(
        Slot(name, tell, question, answer, values[kind])
        for name, tell, question, answer, kind in _ASKED[variant]
    )


@lru_cache(maxsize=4)
def other_slots(variant: str) -> tuple[Slot, ...]:
    """The slots that only training texts and demonstrations use."""
    asked = {slot.tell for slot in slots(variant)}
    return tuple(slot for slot in _framed(variant) if slot.tell not in asked)


def _framed(variant: str) -> Iterable[Slot]:
    values, words = _values(variant), {**CATEGORIES, "kin": _KIN, "verb": VERBS}
    for tell, question, answer, categories, kind in _FRAMES[variant]:
        for category in categories:
            for word in words[category]:
                told, asked, said = (t.replace("{x}", word) for t in (tell, question, answer))
                yield Slot(told, told, asked, said, values[kind])


def _values(variant: str) -> dict[str, tuple[str, ...]]:
    pets, women, men = _PET_NAMES[variant], names.women(variant), names.men(variant)
    return {
        "colour": _COLOURS, "number": _NUMBERS, "day": _DAYS, "place": CATEGORIES["place"],
        "pet": pets, "woman": women, "man": men, "any name": pets + women + men,
    }  # fmt: skip


def stated_key(slot: Slot, value: str) -> str:
    """The canonical key of a question for what the user told."""
    return f"stated|{slot.name}|{value}"
