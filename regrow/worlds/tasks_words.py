"""Tasks that need to know words: categories, opposites, forms, animals, trades, people, letters.

Where the table is small the input is a phrase or a pair, so that unseen inputs are combinations.
"""

from __future__ import annotations

import random as _random
from collections.abc import Mapping
from itertools import pairwise

from regrow.worlds.lexicon import (
    ADJECTIVES,
    CATEGORIES,
    CATEGORY_OF,
    COUNTABLE,
    LETTERS,
    NOUNS,
    OPPOSITES,
    PAST,
    PRODUCT,
    SOUND,
    VERBS,
    WOMAN,
    WORKPLACE,
    YOUNG,
)
from regrow.worlds.tasks_kit import Sampler, Task, ask, give, order, pick, several, yes


def _single(table: Mapping[str, str]) -> Sampler:
    """One word and its partner in the table."""
    words = tuple(table)

    def sample(random: _random.Random) -> tuple[str, str]:
        word = pick(random, words)
        return word, table[word]

    return sample


def _double(table: Mapping[str, str]) -> Sampler:
    """Two words and the partners of both."""
    words = tuple(table)

    def sample(random: _random.Random) -> tuple[str, str]:
        first, second = several(random, words, 2)
        return f"{first} {second}", f"{table[first]} {table[second]}"

    return sample


def _phrase(table: Mapping[str, str], before: str = "") -> Sampler:
    """A word with an adjective before it: 'the big king' becomes 'the big queen'."""
    words = tuple(table)

    def sample(random: _random.Random) -> tuple[str, str]:
        adjective, word = pick(random, ADJECTIVES), pick(random, words)
        return f"{before}{adjective} {word}", f"{before}{adjective} {table[word]}"

    return sample


def _category(variant: str) -> list[Task]:
    groups = tuple(CATEGORIES.values())

    def alike(random: _random.Random) -> tuple[str, str]:
        truth = random.random() < 0.5
        if truth:
            first, second = several(random, pick(random, groups), 2)
        else:
            first, second = (pick(random, group) for group in several(random, groups, 2))
        return f"{first} {second}", yes(truth)

    return [
        Task("kind of thing", "category",
             give(variant, "the kind of thing", "the kind it belongs to"), _single(CATEGORY_OF)),
        Task("same kind", "category",
             ask(variant, "Are they of the same kind?", "Do both belong to one kind?",
                 "Are both things of one kind?", "Do they have the same kind?"), alike),
    ]  # fmt: skip


def _opposites(variant: str) -> list[Task]:
    def phrase(random: _random.Random) -> tuple[str, str]:
        adjective, noun = pick(random, ADJECTIVES), pick(random, NOUNS)
        return f"{adjective} {noun}", f"{OPPOSITES[adjective]} {noun}"

    return [
        Task("opposite", "opposites",
             give(variant, "the opposite", "the word that means the opposite"),
             _single(OPPOSITES)),
        Task("opposite thing", "opposites",
             give(variant, "the opposite thing", "the thing that is the opposite"), phrase),
    ]  # fmt: skip


def _forms(variant: str) -> list[Task]:
    plurals = {noun: f"{noun}s" for noun in COUNTABLE}

    def past(random: _random.Random) -> tuple[str, str]:
        noun, verb = pick(random, COUNTABLE), pick(random, VERBS)
        return f"the {noun}s {verb}", f"the {noun}s {PAST[verb]}"

    def article(random: _random.Random) -> tuple[str, str]:
        noun = pick(random, COUNTABLE)
        return f"a {noun}" if noun[0] not in "aeiou" else f"an {noun}", f"the {noun}"

    return [
        Task("plural phrase", "forms",
             give(variant, "the phrase for many", "the plural of the phrase"),
             _phrase(plurals, "the ")),
        Task("past", "forms", order(variant, "Put it in the past", "Say it in the past",
             "Write it in the past", "Make it past"), past),
        Task("the for a", "forms",
             order(variant, "Say the in place of a", "Put the in place of a",
                   "Write the in place of a", "Use the and not a"), article),
    ]  # fmt: skip


def _knowledge(variant: str) -> list[Task]:
    def task(name: str, family: str, sample: Sampler, *things: str) -> Task:
        return Task(name, family, give(variant, *things), sample)

    return [
        task("young animals", "animals", _double(YOUNG), "the young of each",
             "the young of both animals"),
        task("sounds", "animals", _double(SOUND), "the sound of each",
             "the sounds of both animals"),
        task("products", "trades", _double(PRODUCT), "the product of each",
             "what both of them make"),
        task("workplaces", "trades", _double(WORKPLACE), "the workplace of each",
             "where both of them work"),
        task("the woman", "people", _phrase(WOMAN, "the "), "the phrase for a woman",
             "the same for a woman"),
        task("the man", "people", _phrase({w: m for m, w in WOMAN.items()}, "the "),
             "the phrase for a man", "the same for a man"),
    ]  # fmt: skip


def _letters(variant: str) -> list[Task]:
    following = dict(pairwise(LETTERS))
    capitals = {letter: letter.upper() for letter in LETTERS}
    return [
        Task("next letters", "letters",
             give(variant, "the next letter of each", "the letter after each"),
             _double(following)),
        Task("capitals", "letters",
             order(variant, "Write the letters as capitals", "Make the letters big",
                   "Give the letters as capitals", "Use capitals for the letters"),
             _double(capitals)),
    ]  # fmt: skip


def word_tasks(variant: str) -> list[Task]:
    """The tasks that need to know words."""
    makers = (_category, _opposites, _forms, _knowledge, _letters)
    return [task for make in makers for task in make(variant)]
