"""Word problems of one to eight steps over a closed table of sums: operands 1-9, totals below 100.

Each worked step restates its clause ('She finds 8 more: 6 + 8 = 14.'), which is what lets a small
model work step by step while direct answers stay near chance.
"""

from __future__ import annotations

import random as _random
from dataclasses import dataclass

from regrow.worlds.lexicon import GIRLS, pupils
from regrow.worlds.tasks_kit import pick, several

MOST_STEPS = 8
_THINGS = (
    "apples", "pears", "plums", "lemons", "hats", "scarfs", "balls", "dolls", "kites", "marbles",
    "hooks", "blocks", "figs", "limes", "belts", "boots",
)  # fmt: skip
_CONTAINERS = {"a": ("bags", "boxes", "baskets"), "b": ("tins", "rows", "jars")}

#: Clauses by variant and operation; {n} is the operand, {who} another pupil, {doubles} what
#: makes twice or three times as many. They are many and short, so that two problems seldom share
#: thirteen words in a row, which would read as contamination.
_CLAUSES: dict[str, dict[str, tuple[str, ...]]] = {
    "a": {
        "+": (
            "finds {n} more", "buys {n} more", "gets {n} more from {who}", "wins {n} more",
            "takes {n} more", "makes {n} more",
        ),
        "-": (
            "gives {n} to {who}", "loses {n}", "sells {n}", "throws {n} away", "drops {n}",
            "breaks {n}",
        ),
        "x": ("{doubles} them",),
    },
    "b": {
        "+": (
            "picks up {n} more", "brings {n} more", "borrows {n} more from {who}",
            "earns {n} more", "adds {n} more", "collects {n} more",
        ),
        "-": (
            "hands {n} to {who}", "hides {n}", "spoils {n}", "puts {n} away", "forgets {n}",
            "lends {n} to {who}",
        ),
        "x": ("{doubles} that",),
    },
}  # fmt: skip
_DOUBLES = {2: "doubles", 3: "triples"}


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem apart from its words: `start` (or `bags` x `each`) and then the operations.

    `operations` are (sign, operand) with sign one of + - x; `steps` counts the sums.
    """

    bags: int
    start: int
    operations: tuple[tuple[str, int], ...]

    @property
    def steps(self) -> int:
        """How many sums it takes."""
        return len(self.operations) + (self.bags > 0)

    @property
    def key(self) -> str:
        """Structure and numbers: 'problem|3x4+8-2'."""
        head = f"{self.bags}x{self.start}" if self.bags else str(self.start)
        return "problem|" + head + "".join(f"{sign}{n}" for sign, n in self.operations)

    @property
    def answer(self) -> int:
        """The number that is left at the end."""
        total = self.start * (self.bags or 1)
        for sign, n in self.operations:
            total = apply(sign, total, n)
        return total


@dataclass(frozen=True, slots=True)
class Told:
    """A problem in words: the question, and the worked answer that ends 'The answer is N.'."""

    question: str
    worked: str
    direct: str


def apply(sign: str, total: int, n: int) -> int:
    """The sum of one step."""
    return total + n if sign == "+" else total - n if sign == "-" else total * n


def draw_problem(random: _random.Random, steps: int) -> Problem:
    """A problem of so many steps whose totals stay between 1 and 99."""
    bags = 2 + int(random.random() * 4) if random.random() < 0.2 else 0
    start = 2 + int(random.random() * (8 if bags or steps > 1 else 29))
    total, operations = start * (bags or 1), []
    for _ in range(steps - (bags > 0)):
        n = 1 + int(random.random() * 9)
        draw = random.random()
        if draw < 0.12 and total <= 33:
            sign, n = "x", 2 + int(random.random() * 2)
        elif total + n > 99 or (draw < 0.5 and total > n):
            sign = "-"
        else:
            sign = "+"
        total = apply(sign, total, n)
        operations.append((sign, n))
    return Problem(bags, start, tuple(operations))


def tell(random: _random.Random, problem: Problem, variant: str) -> Told:
    """A problem in words, with drawn pupils, things and clauses."""
    name, other = several(random, pupils(variant), 2)
    she = "She" if name in GIRLS[variant] else "He"
    thing = pick(random, _THINGS)
    total = problem.start
    worked = []
    if problem.bags:
        container = pick(random, _CONTAINERS[variant])
        question = [f"{name} has {problem.bags} {container} with {total} {thing} in each."]
        total *= problem.bags
        worked.append(
            f"{problem.bags} {container} with {problem.start} in each: "
            f"{problem.bags} x {problem.start} = {total}."
        )
    else:
        question = [f"{name} has {total} {thing}."]
    for sign, n in problem.operations:
        said = pick(random, _CLAUSES[variant][sign])
        clause = f"{she} {said.format(n=n, who=other, doubles=_DOUBLES.get(n))}"
        after = apply(sign, total, n)
        question.append(clause + ".")
        worked.append(f"{clause}: {total} {sign} {n} = {after}.")
        total = after
    question.append(f"How many {thing} now?")
    direct = f"The answer is {total}."
    return Told(" ".join(question), " ".join([*worked, direct]), direct)


def drill(random: _random.Random) -> str:
    """Ten to twenty sums of the closed table, of one operation or mixed."""
    signs = pick(random, ("+", "-", "x", "+-", "+-"))
    lines = []
    for _ in range(10 + int(random.random() * 11)):
        sign = pick(random, signs)
        n = 1 + int(random.random() * 9)
        if sign == "x":
            other = 2 + int(random.random() * (8 if n > 3 else 32))
            line = f"{other} x {n} = {other * n}" if other > 9 else f"{n} x {other} = {n * other}"
        elif sign == "+":
            total = 1 + int(random.random() * (99 - n))
            line = f"{total} + {n} = {total + n}"
        else:
            total = n + 1 + int(random.random() * (99 - n))
            line = f"{total} - {n} = {total - n}"
        lines.append(line)
    return pick(random, ("\n", ". ", ", ")).join(lines)
