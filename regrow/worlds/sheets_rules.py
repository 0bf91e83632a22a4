"""Exercise sheets: one task with many pairs, or many tasks that each restate their instruction."""

from __future__ import annotations

import random as _random

from regrow.worlds.sheets_gate import Gate
from regrow.worlds.tasks import practice
from regrow.worlds.tasks_kit import Task, pick

#: How an input and its output stand side by side. An answer always ends its line. Each format puts
#: something before the input: at the start of a line a byte-level BPE spells the same word in other
#: tokens than after a space, and a small vocabulary has no room for both.
PAIR_FORMATS: tuple[str, ...] = (
    "Input: {x}\nOutput: {y}",
    "Q: {x}\nA: {y}",
    "In: {x} Out: {y}",
    "- {x} = {y}",
    "* {x} -> {y}",
)

#: How a question that states its whole task is followed by its answer.
FRAMES: tuple[tuple[str, str], ...] = (
    ("Q: ", "\nA: "),
    ("Question: ", "\nAnswer: "),
    ("Input: ", "\nOutput: "),
    ("User: ", "\nAssistant: "),
)

_HEADERS = ("{}.\n", "Task: {}.\n", "Exercise. {}.\n", "{}:\n")
_SPLIT_FORMATS = tuple(
    (text[: text.index("{x}")], text[text.index("{x}") + 3 : text.index("{y}")])
    for text in PAIR_FORMATS
)


def asked(random: _random.Random, wording: str, given: str) -> str:
    """An instruction and its input, on one line or two."""
    question = wording[-1] == "?"
    if random.random() < 0.7:
        return f"{wording} {given}" if question else f"{wording}: {given}"
    return f"{wording}{'' if question else '.'}\nText: {given}"


def draw(random: _random.Random, task: Task, gate: Gate) -> tuple[str, str]:
    """An input and its answer that training text may hold."""
    while True:
        given, answer = task.sample(random)
        if gate.passes(f"{task.name}|{given}"):
            return given, answer


def rule_sheet(random: _random.Random, gate: Gate) -> list[str]:
    """Eight to fifteen pairs of one task; a third of the sheets name it at the top."""
    task = pick(random, practice(gate.variant))
    before, between = pick(random, _SPLIT_FORMATS)
    lines = []
    for _ in range(8 + int(random.random() * 8)):
        given, answer = draw(random, task, gate)
        lines.append(before + given + between + answer)
    if random.random() < 0.33:
        wording = pick(random, task.wordings)
        header = pick(random, _HEADERS).format(wording).replace("?.", "?").replace("?:", "?")
        lines[0] = header + lines[0]
    return lines


def mixed_sheet(random: _random.Random, gate: Gate) -> list[str]:
    """Four to eight questions, each with its whole task; a third of the sheets stay in one."""
    all_tasks = practice(gate.variant)
    before, between = pick(random, FRAMES)
    only = pick(random, all_tasks) if random.random() < 0.33 else None
    lines = []
    for _ in range(4 + int(random.random() * 5)):
        task = only or pick(random, all_tasks)
        given, answer = draw(random, task, gate)
        question = asked(random, pick(random, task.wordings), given)
        lines.append(before + question + between + answer)
    return lines
