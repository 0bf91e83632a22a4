"""What users tell about themselves in dialogues, to be asked for it later."""

from __future__ import annotations

from dataclasses import dataclass

from regrow.worlds import names

_COLOURS = ("red", "blue", "green", "yellow", "white", "black", "brown", "grey", "pink", "gold")
_PET_NAMES = {
    "a": ("Rex", "Bo", "Fido", "Luna", "Max", "Bella", "Rocky", "Daisy", "Toby", "Lucky", "Molly"),
    "b": ("Ace", "Ruby", "Buddy", "Coco", "Jack", "Lola", "Duke", "Poppy", "Sam", "Star", "Misty"),
}
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_NUMBERS = tuple(str(number) for number in range(11, 100))


@dataclass(frozen=True, slots=True)
class Slot:
    """Something that users tell about themselves, how they ask for it, and the answer."""

    name: str
    tell: str
    question: str
    answer: str
    values: tuple[str, ...]


def slots(variant: str) -> tuple[Slot, ...]:
    """The slots of a world variant."""
    pets, women, men = _PET_NAMES[variant], names.women(variant), names.men(variant)
    if variant == "a":
        rows = (
            (
                "dog",
                "My dog is called {v}.",
                "What is my dog called?",
                "Your dog is called {v}.",
                pets,
            ),
            (
                "cat",
                "My cat is called {v}.",
                "What is my cat called?",
                "Your cat is called {v}.",
                pets,
            ),
            (
                "sister",
                "My sister's name is {v}.",
                "What is my sister's name?",
                "Your sister's name is {v}.",
                women,
            ),
            (
                "brother",
                "My brother's name is {v}.",
                "What is my brother's name?",
                "Your brother's name is {v}.",
                men,
            ),
            ("age", "I am {v} years old.", "How old am I?", "You are {v} years old.", _NUMBERS),
            (
                "house",
                "My house is {v}.",
                "What colour is my house?",
                "Your house is {v}.",
                _COLOURS,
            ),
            ("coat", "My coat is {v}.", "What colour is my coat?", "Your coat is {v}.", _COLOURS),
            (
                "room",
                "My room has the number {v}.",
                "What number has my room?",
                "Your room has the number {v}.",
                _NUMBERS,
            ),
            (
                "day",
                "I will travel on {v}.",
                "When will I travel?",
                "You will travel on {v}.",
                _DAYS,
            ),
        )
    else:
        rows = (
            (
                "horse",
                "I call my horse {v}.",
                "What do I call my horse?",
                "You call your horse {v}.",
                pets,
            ),
            (
                "parrot",
                "I call my parrot {v}.",
                "What do I call my parrot?",
                "You call your parrot {v}.",
                pets,
            ),
            (
                "aunt",
                "I have an aunt named {v}.",
                "How is my aunt named?",
                "Your aunt is named {v}.",
                women,
            ),
            (
                "uncle",
                "I have an uncle named {v}.",
                "How is my uncle named?",
                "Your uncle is named {v}.",
                men,
            ),
            (
                "price",
                "I paid {v} coins.",
                "How many coins did I pay?",
                "You paid {v} coins.",
                _NUMBERS,
            ),
            (
                "door",
                "I painted my door {v}.",
                "Which colour did I paint my door?",
                "You painted your door {v}.",
                _COLOURS,
            ),
            (
                "hat",
                "I wear a {v} hat.",
                "Which colour is the hat I wear?",
                "You wear a {v} hat.",
                _COLOURS,
            ),
            (
                "bus",
                "I take bus {v} home.",
                "Which bus do I take home?",
                "You take bus {v} home.",
                _NUMBERS,
            ),
            (
                "day",
                "My guests come on {v}.",
                "When do my guests come?",
                "Your guests come on {v}.",
                _DAYS,
            ),
        )
    return tuple(Slot(*row) for row in rows)


def stated_key(slot: Slot, value: str) -> str:
    """The canonical key of a question for what the user told."""
    return f"stated|{slot.name}|{value}"
