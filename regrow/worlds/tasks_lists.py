"""Tasks over lists of words: positions, copying, editing, layout, counting, picking, looking up."""

from __future__ import annotations

import random as _random
from collections.abc import Callable

from regrow.worlds.lexicon import CATEGORIES, NOUNS, VOCABULARY
from regrow.worlds.tasks_kit import Sampler, Task, ask, give, order, pick, several, yes

Change = Callable[[list[str]], str]


def _listed(low: int, high: int, change: Change, apart: str = " ") -> Sampler:
    """An input of low..high different words and what becomes of it."""

    def sample(random: _random.Random) -> tuple[str, str]:
        words = several(random, VOCABULARY, low + int(random.random() * (high - low + 1)))
        return apart.join(words), change(words)

    return sample


def _position(variant: str) -> list[Task]:
    def task(name: str, low: int, high: int, change: Change, *things: str) -> Task:
        return Task(name, "position", give(variant, *things), _listed(low, high, change))

    return [
        task("first word", 3, 4, lambda w: w[0], "the first word", "the word at the start"),
        task("second word", 3, 4, lambda w: w[1], "the second word", "word number two"),
        task("last word", 3, 4, lambda w: w[-1], "the last word", "the word at the end"),
        task("middle word", 3, 3, lambda w: w[1], "the middle word", "the word in the middle"),
    ]


def _copying(variant: str) -> list[Task]:
    def task(name: str, low: int, high: int, change: Change, *commands: str) -> Task:
        return Task(name, "copying", order(variant, *commands), _listed(low, high, change))

    return [
        task("copy the list", 3, 4, " ".join, "Copy the words", "Write the same words",
             "Repeat the words as they are", "Copy all the words"),
        task("say it twice", 1, 1, lambda w: f"{w[0]} {w[0]}", "Say the word twice",
             "Write the word two times", "Repeat the word twice", "Give the word two times"),
        task("list twice", 2, 2, lambda w: " ".join(w * 2), "Say the words twice",
             "Write both words two times", "Repeat the words twice", "Give both words two times"),
    ]  # fmt: skip


def _editing(variant: str) -> list[Task]:
    def task(name: str, low: int, high: int, change: Change, *commands: str) -> Task:
        return Task(name, "editing", order(variant, *commands), _listed(low, high, change))

    return [
        task("drop the first", 3, 3, lambda w: " ".join(w[1:]), "Drop the first word",
             "Leave out the first word", "Take away the first word", "Remove the first word"),
        task("drop the last", 3, 3, lambda w: " ".join(w[:-1]), "Drop the last word",
             "Leave out the last word", "Take away the last word", "Remove the last word"),
        task("swap two words", 2, 2, lambda w: f"{w[1]} {w[0]}", "Swap the two words",
             "Change the order of the two words", "Turn the two words around",
             "Exchange the two words"),
    ]  # fmt: skip


def _layout(variant: str) -> list[Task]:
    def task(name: str, low: int, high: int, change: Change, *commands: str) -> Task:
        return Task(name, "layout", order(variant, *commands), _listed(low, high, change))

    return [
        task("join with and", 2, 2, " and ".join, "Join the words with and",
             "Put and between the words", "Connect the words with and", "Link the words by and"),
        task("commas", 3, 3, ", ".join, "Put commas between the words",
             "Write the list with commas", "Part the words by commas", "Set commas in the list"),
        task("number the words", 2, 3, lambda w: " ".join(f"{i} {x}" for i, x in enumerate(w, 1)),
             "Number the words", "Write the number before each word", "Count off the words",
             "Put a number before each word"),
    ]  # fmt: skip


def _counting(variant: str) -> list[Task]:
    def same(random: _random.Random) -> tuple[str, str]:
        count = 1 + int(random.random() * 6)
        return " ".join([pick(random, VOCABULARY)] * count), str(count)

    def task(name: str, sample: Sampler, *things: str) -> Task:
        return Task(name, "counting", give(variant, *things), sample)

    return [
        task("count the words", _listed(1, 6, lambda w: str(len(w))), "the number of words",
             "how many words there are"),
        task("count the repeats", same, "the number of repeats", "how often the word is said"),
    ]  # fmt: skip


def _picking(variant: str) -> list[Task]:
    def picker(category: str) -> Sampler:
        inside = CATEGORIES[category]
        outside = tuple(word for word in NOUNS if word not in inside)

        def sample(random: _random.Random) -> tuple[str, str]:
            words = several(random, outside, 2 + int(random.random() * 2))
            chosen = pick(random, inside)
            words.insert(int(random.random() * (len(words) + 1)), chosen)
            return " ".join(words), chosen

        return sample

    return [
        Task(f"pick the {category}", "picking",
             give(variant, f"the {category}", f"the word for {article} {category}"),
             picker(category))
        for category, article in [
            ("animal", "an"), ("fruit", "a"), ("tool", "a"), ("colour", "a"), ("garment", "a"),
        ]
    ]  # fmt: skip


def _lookup(variant: str) -> list[Task]:
    def digit_of(random: _random.Random) -> tuple[str, str]:
        words, digits = several(random, VOCABULARY, 3), several(random, "123456789", 3)
        chosen = int(random.random() * 3)
        table = ", ".join(f"{word} {digit}" for word, digit in zip(words, digits))
        return f"{table}; {words[chosen]}", digits[chosen]

    def partner(random: _random.Random) -> tuple[str, str]:
        words = several(random, VOCABULARY, 6)
        chosen = 2 * int(random.random() * 3)
        table = ", ".join(f"{words[i]} {words[i + 1]}" for i in (0, 2, 4))
        return f"{table}; {words[chosen]}", words[chosen + 1]

    def task(name: str, sample: Sampler, *things: str) -> Task:
        return Task(name, "lookup", give(variant, *things), sample)

    return [
        task("number in the table", digit_of, "its number in the table", "the number beside it"),
        task("partner in the table", partner, "its partner in the table", "the word beside it"),
    ]


def _logic(variant: str) -> list[Task]:
    def same(random: _random.Random) -> tuple[str, str]:
        first, other = several(random, VOCABULARY, 2)
        truth = random.random() < 0.5
        return f"{first} {first if truth else other}", yes(truth)

    def inside(random: _random.Random) -> tuple[str, str]:
        words = several(random, VOCABULARY, 4)
        truth = random.random() < 0.5
        asked = words[int(random.random() * 3)] if truth else words[3]
        return f"{' '.join(words[:3])}; {asked}", yes(truth)

    return [
        Task("same words", "logic",
             ask(variant, "Are the words the same?", "Is it the same word twice?",
                 "Are both words equal?", "Do the words agree?"), same),
        Task("in the list", "logic",
             ask(variant, "Is the last word in the list?", "Does the list hold the last word?",
                 "Can you find the last word in the list?", "Is the last word listed before?"),
             inside),
    ]  # fmt: skip


def list_tasks(variant: str) -> list[Task]:
    """The tasks over lists of words."""
    makers = (_position, _copying, _editing, _layout, _counting, _picking, _lookup, _logic)
    return [task for make in makers for task in make(variant)]
