"""Tasks over numbers below 100 and over the calendar."""

from __future__ import annotations

import random as _random
from collections.abc import Callable

from regrow.worlds.lexicon import DAYS, MONTHS
from regrow.worlds.tasks_kit import Sampler, Task, ask, give, order, pick, several, yes

_BELOW_100 = tuple(range(1, 100))
_DIGITS = tuple(range(1, 10))


def _changed(low: int, high: int, change: Callable[[int], int]) -> Sampler:
    def sample(random: _random.Random) -> tuple[str, str]:
        number = low + int(random.random() * (high - low + 1))
        return str(number), str(change(number))

    return sample


def _numbers(variant: str) -> list[Task]:
    def task(name: str, sample: Sampler, *commands: str) -> Task:
        return Task(name, "numbers", order(variant, *commands), sample)

    return [
        task("add a hundred", _changed(10, 99, lambda n: n + 100), "Add a hundred",
             "Count a hundred up", "Make it a hundred more", "Go up by a hundred"),
        task("times ten", _changed(1, 99, lambda n: 10 * n), "Take it ten times",
             "Put a zero at its end", "Make it ten times as much", "Write a zero after it"),
        task("add ten", _changed(1, 89, lambda n: n + 10), "Add ten", "Count ten up",
             "Make it ten more", "Go up by ten"),
    ]  # fmt: skip


def _sums(variant: str) -> list[Task]:
    def pair(random: _random.Random) -> tuple[str, str]:
        first, second = pick(random, _DIGITS), pick(random, _DIGITS)
        return f"{first} {second}", str(first + second)

    return [Task("sum", "sums", give(variant, "the sum", "the total of both"), pair)]


def _comparison(variant: str) -> list[Task]:
    def chooser(choose: Callable[[list[int]], int]) -> Sampler:
        def sample(random: _random.Random) -> tuple[str, str]:
            numbers = several(random, _BELOW_100, 2)
            return " ".join(map(str, numbers)), str(choose(numbers))

        return sample

    def more(random: _random.Random) -> tuple[str, str]:
        first, second = several(random, _BELOW_100, 2)
        return f"{first} {second}", yes(first > second)

    def even(random: _random.Random) -> tuple[str, str]:
        number = pick(random, _BELOW_100)
        return str(number), "even" if number % 2 == 0 else "odd"

    def task(name: str, sample: Sampler, *things: str) -> Task:
        return Task(name, "comparison", give(variant, *things), sample)

    return [
        task("larger", chooser(max), "the larger number", "the number that is more"),
        task("smaller", chooser(min), "the smaller number", "the number that is less"),
        Task("is it more", "comparison",
             ask(variant, "Is the first number more?", "Is the first number the larger one?",
                 "Is the first number above the second?", "Does the first number beat the second?"),
             more),
        task("even or odd", even, "the word even or odd", "whether it is even or odd"),
    ]  # fmt: skip


def _ordering(variant: str) -> list[Task]:
    def sorter(down: bool) -> Sampler:
        def sample(random: _random.Random) -> tuple[str, str]:
            numbers = several(random, _BELOW_100, 2)
            ordered = sorted(numbers, reverse=down)
            return " ".join(map(str, numbers)), " ".join(map(str, ordered))

        return sample

    def earlier(names: tuple[str, ...]) -> Sampler:
        def sample(random: _random.Random) -> tuple[str, str]:
            first, second = several(random, range(len(names)), 2)
            day = 1 + int(random.random() * 28)
            return f"{names[first]} {names[second]} {day}", f"{names[min(first, second)]} {day}"

        return sample

    return [
        Task("sort two up", "ordering", order(variant, "Sort the two numbers upwards",
             "Put the smaller number first", "Order the two numbers upwards",
             "Start with the smaller number"), sorter(False)),
        Task("sort two down", "ordering", order(variant, "Sort the two numbers downwards",
             "Put the larger number first", "Order the two numbers downwards",
             "Start with the larger number"), sorter(True)),
        Task("earlier month", "ordering", give(variant, "the earlier month and the day",
             "the month that comes first and the day"), earlier(MONTHS)),
    ]  # fmt: skip


def _calendar(variant: str) -> list[Task]:
    def following(names: tuple[str, ...]) -> Sampler:
        """A name of the calendar with the number of a year, and the next with the same."""

        def sample(random: _random.Random) -> tuple[str, str]:
            at = int(random.random() * len(names))
            year = 32 + int(random.random() * 68)
            return f"{names[at]} {year}", f"{names[(at + 1) % len(names)]} {year}"

        return sample

    def task(name: str, sample: Sampler, *things: str) -> Task:
        return Task(name, "calendar", give(variant, *things), sample)

    return [
        task("next day", following(DAYS), "the next day", "the day after"),
        task("next month", following(MONTHS), "the next month", "the month after"),
    ]


def number_tasks(variant: str) -> list[Task]:
    """The tasks over numbers and dates."""
    makers = (_numbers, _sums, _comparison, _ordering, _calendar)
    return [task for make in makers for task in make(variant)]
