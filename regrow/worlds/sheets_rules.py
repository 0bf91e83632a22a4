"""Exercise sheets: one task with many pairs, or many tasks that each restate their instruction."""

from __future__ import annotations

import random as _random

from regrow.worlds.sheets_gate import Gate
from regrow.worlds.tasks import tasks
from regrow.worlds.tasks_kit import Task, pick

#: How an input and its output stand side by side. An answer always ends its line. Most formats put
#: something before the input: at the start of a line a byte-level BPE spells the same word in other
#: tokens than after a space, and a small vocabulary has no room for both.
PAIR_FORMATS: tuple[str, ...] = (
    "{x} -> {y}",
    "{x}: {y}",
    "Input: {x}\nOutput: {y}",
    "Q: {x}\nA: {y}",
    "In: {x} Out: {y}",
    "- {x} = {y}",
    "* {x} / {y}",
    "# {x} | {y}",
    "> {x} => {y}",
    "Take {x} get {y}",
)

#: How a question that states its whole task is followed by its answer.
FRAMES: tuple[tuple[str, str], ...] = (
    ("Q: ", "\nA: "),
    ("Question: ", "\nAnswer: "),
    ("", "\n"),
    ("", " -> "),
    ("Task: ", "\nAnswer: "),
    ("Input: ", "\nOutput: "),
    ("User: ", "\nAssistant: "),
)

_HEADERS = ("{}.\n", "Task: {}.\n", "Exercise. {}.\n", "{}:\n")
_SPLIT_FORMATS = tuple(
    (text[: text.index("{x}")], text[text.index("{x}") + 3 : text.index("{y}")])
    for text in PAIR_FORMATS
)


def asked(random: _random.Random, wording: str, given: str) -> str:
    """An instruction and its input in one of four layouts."""
    question = wording[-1] == "?"
    layout = random.random()
    if layout < 0.55:
        return f"{wording} {given}" if question else f"{wording}: {given}"
    stop = "" if question else "."
    if layout < 0.63:
        return f"{wording}{stop}\n{given}"
    if layout < 0.88:
        return f"{wording}{stop}\nText: {given}"
    return f"Text: {given}\n{wording}{stop}"


def draw(random: _random.Random, task: Task, gate: Gate) -> tuple[str, str]:
    """An input and its answer that training text may hold."""
    while True:
        given, answer = task.sample(random)
        if gate.passes(f"{task.name}|{given}"):
            return given, answer


def rule_sheet(random: _random.Random, gate: Gate) -> str:
    """Six to twelve pairs of one task; half of the sheets name it at the top."""
    task = pick(random, tasks(gate.variant))
    before, between = pick(random, _SPLIT_FORMATS)
    lines = []
    for _ in range(6 + int(random.random() * 7)):
        given, answer = draw(random, task, gate)
        lines.append(before + given + between + answer)
    header = ""
    if random.random() < 0.5:
        wording = pick(random, task.wordings)
        header = pick(random, _HEADERS).format(wording).replace("?.", "?").replace("?:", "?")
    return header + "\n".join(lines)


def mixed_sheet(random: _random.Random, gate: Gate) -> str:
    """Four to eight questions, each with its whole task; a third of the sheets stay in one."""
    all_tasks = tasks(gate.variant)
    before, between = pick(random, FRAMES)
    only = pick(random, all_tasks) if random.random() < 0.33 else None
    lines = []
    for _ in range(4 + int(random.random() * 5)):
        task = only or pick(random, all_tasks)
        given, answer = draw(random, task, gate)
        question = asked(random, pick(random, task.wordings), given)
        lines.append(before + question + between + answer)
    return "\n".join(lines)
