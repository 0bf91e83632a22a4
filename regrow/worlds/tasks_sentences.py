"""Tasks over short sentences: who, what and where, and saying the same in another way."""

from __future__ import annotations

import random as _random
from collections.abc import Callable

from regrow.worlds.lexicon import ADJECTIVES, CATEGORIES, COUNTABLE, pupils
from regrow.worlds.tasks_kit import Sampler, Task, give, order, pick, several

_THINGS = CATEGORIES["toy"] + CATEGORIES["fruit"] + CATEGORIES["garment"] + CATEGORIES["tool"]
_PLACES = CATEGORIES["place"]
_COLOURS = CATEGORIES["colour"]


def _reading(variant: str) -> list[Task]:
    names = pupils(variant)

    def giving(answer: int) -> Sampler:
        def sample(random: _random.Random) -> tuple[str, str]:
            giver, taker = several(random, names, 2)
            thing, place = pick(random, _THINGS), pick(random, _PLACES)
            said = f"{giver} gives the {thing} to {taker} at the {place}."
            return said, (giver, taker, thing, place)[answer]

        return sample

    def colour(random: _random.Random) -> tuple[str, str]:
        hue = pick(random, _COLOURS)
        return f"{pick(random, names)} has a {hue} {pick(random, _THINGS)}.", hue

    def task(name: str, sample: Sampler, *things: str) -> Task:
        return Task(name, "reading", give(variant, *things), sample)

    return [
        task("giver", giving(0), "the one who gives", "the giver"),
        task("taker", giving(1), "the one who gets it", "the taker"),
        task("gift", giving(2), "the thing that is given", "the gift"),
        task("place of giving", giving(3), "the place", "the place where it happens"),
        task("colour in the sentence", colour, "the colour of the thing", "its colour"),
    ]


def _rewriting(variant: str) -> list[Task]:
    def stated(change: Callable[[str, str], str]) -> Sampler:
        def sample(random: _random.Random) -> tuple[str, str]:
            noun, adjective = pick(random, COUNTABLE), pick(random, ADJECTIVES)
            return f"The {noun} is {adjective}.", change(noun, adjective)

        return sample

    def task(name: str, change: Callable[[str, str], str], *commands: str) -> Task:
        return Task(name, "rewriting", order(variant, *commands), stated(change))

    return [
        task("deny", lambda n, a: f"The {n} is not {a}.", "Say that it is not so",
             "Say it with not", "Deny it", "Put not in the sentence"),
        task("past sentence", lambda n, a: f"The {n} was {a}.", "Tell it in the past",
             "Say that it was so", "Tell it as past", "Say how it was"),
        task("make a question", lambda n, a: f"Is the {n} {a}?", "Make a question of it",
             "Ask it as a question", "Turn it into a question", "Ask whether it is so"),
        task("short phrase", lambda n, a: f"the {a} {n}", "Make it a short phrase",
             "Say it as a phrase", "Shorten it to a phrase", "Write it as a phrase"),
    ]  # fmt: skip


def sentence_tasks(variant: str) -> list[Task]:
    """The tasks over sentences."""
    return _reading(variant) + _rewriting(variant)
