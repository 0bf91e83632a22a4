"""Evaluation items of the school: rules and labels in context, instructions, problems, notes.

Every key of an item is reserved (see `tasks_kit.reserved`), so that no training text holds it;
shots come from the training side.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from regrow.records import Item
from regrow.seeds import pyrandom
from regrow.worlds import notes
from regrow.worlds.lessons import demonstrations_tasks
from regrow.worlds.lexicon import CATEGORIES, VOCABULARY
from regrow.worlds.problems import MOST_STEPS, draw_problem, tell
from regrow.worlds.sheets_binding import BOUND_FORMATS, label_key, trainable
from regrow.worlds.sheets_gate import Gate
from regrow.worlds.sheets_rules import PAIR_FORMATS, asked, draw
from regrow.worlds.tasks import HELD_OUT_FAMILIES, tasks
from regrow.worlds.tasks_kit import Task, pick, reserved, several
from regrow.worlds.textbook import draw_told
from regrow.worlds.wordings import numbered

__all__ = ["demonstrations_tasks", "school_items"]

SHOTS = 8
#: Words between the note and the question, by the name of the cell. All fit 256 tokens.
DISTANCES = {"<50": (10, 40), "50-100": (55, 90), "100-200": (102, 122)}
#: Steps of the solved problems that a prompt may show beside `shots`.
EXEMPLARS = (1, 2, 4)
#: Draws after which a cell counts as exhausted.
_TRIES = 4000


def _unseen(
    random: Random, among: list[Task], variant: str, count: int
) -> Iterator[tuple[Task, str, str]]:
    """Reserved inputs, each once, dealt evenly over tasks; small tasks run out first."""
    used: set[str] = set()
    while among and count > 0:
        left = []
        for task in several(random, among, len(among)):
            for _ in range(_TRIES):
                given, answer = task.sample(random)
                key = task.key(given)
                if reserved(key, variant) and key not in used:
                    used.add(key)
                    left.append(task)
                    yield task, given, answer
                    count -= 1
                    break
            if count == 0:
                return
        among = left


def _rules(seed: int, variant: str, count: int) -> Iterator[Item]:
    """A task shown by eight pairs in one format; the input is unseen, and no shot repeats."""
    random, gate = pyrandom("items", "rule", seed, variant), Gate(variant)
    drawn = _unseen(random, list(tasks(variant)), variant, count)
    for number, (task, given, answer) in enumerate(drawn):
        shots: dict[str, str] = {}
        while len(shots) < SHOTS:
            x, y = draw(random, task, gate)
            shots[x] = y
        yield Item(
            f"in_context-rule-{variant}-{number}", "in_context", task.family, task.key(given),
            given, (answer,), {"kind": "rule"}, tuple(shots.items()),
            check={"format": pick(random, PAIR_FORMATS), "task": task.name},
        )  # fmt: skip


def _labels(seed: int, variant: str, count: int) -> Iterator[Item]:
    """Two categories under arbitrary labels; the word asked for was never seen under its label.

    Shots come in pairs of one word of each class in random order, so that any even number of them
    from either end is balanced and neither label is a better guess.
    """
    random = pyrandom("items", "label", seed, variant)
    used: set[str] = set()
    while len(used) < count:
        groups, labels = several(random, tuple(CATEGORIES), 2), several(random, VOCABULARY, 2)
        word = pick(random, CATEGORIES[groups[0]])
        key = label_key(word, labels[0])
        if key in used or word in labels or not reserved(key, variant):
            continue
        used.add(key)
        columns = [
            several(random, trainable(variant, "category", group, label), SHOTS // 2)
            for group, label in zip(groups, labels)
        ]
        shots: list[tuple[str, str]] = []
        for row in zip(*columns):
            shots += several(random, list(zip(row, labels)), 2)
        yield Item(
            f"in_context-label-{variant}-{len(used) - 1}", "in_context",
            "/".join(sorted(groups)), key, word, (labels[0],), {"kind": "label"}, tuple(shots),
            check={
                "format": pick(random, BOUND_FORMATS),
                "formats": BOUND_FORMATS,
                "choices": several(random, labels, 2),
            },
        )  # fmt: skip


def _instructions(seed: int, variant: str, count: int) -> Iterator[Item]:
    """A wording and an unseen input, asked with no example; half of trained families, half not."""
    hidden = HELD_OUT_FAMILIES(variant)
    for types in ("trained", "held-out"):
        random = pyrandom("items", "instructions", types, seed, variant)
        among = [t for t in tasks(variant) if (t.family in hidden) == (types == "held-out")]
        for number, (task, given, answer) in enumerate(_unseen(random, among, variant, count)):
            wording = pick(random, task.wordings)
            yield Item(
                f"instructions-{types}-{variant}-{number}", "instructions", task.family,
                task.key(given), asked(random, wording, given), (answer,),
                {"types": types}, check={"task": task.name},
                wording=numbered(task.wordings.index(wording)),
            )  # fmt: skip


def _problems(seed: int, variant: str, count: int) -> Iterator[Item]:
    """Unseen problems of one to eight steps, with three solved ones as shots: the last is short
    where the problem is long, so that both fit a context of 256. `exemplars` are other solved ones
    by their number of steps, two each, for prompts that compare simple examples with complex ones.

    Problems of one step are few: their numbers come up to four times, in other words. Cells above
    four steps hold a quarter as many, since each of their items takes long to answer and would
    cost the textbook many pages that share thirteen words with it.
    """
    gate = Gate(variant)
    for steps in range(1, MOST_STEPS + 1):
        random = pyrandom("items", "problems", steps, seed, variant)
        apart = pyrandom("items", "exemplars", steps, seed, variant)
        seen: dict[str, int] = {}
        wanted = count if steps <= 4 else max(1, count // 4)
        number = 0
        for _ in range(_TRIES * 50):
            problem = draw_problem(random, steps)
            times = seen.get(problem.key, 0)
            if not reserved(problem.key, variant) or times >= (4 if steps == 1 else 1):
                continue
            seen[problem.key] = times + 1
            told = tell(random, problem, variant)
            lengths = (1, 2, 2) if steps <= 2 else (2, 1, 1)
            solved = [draw_told(random, gate, n)[2] for n in lengths]
            signs = "".join(sign for sign, _ in problem.operations)
            yield Item(
                f"chain_of_thought-{steps}-{variant}-{number}", "chain_of_thought",
                ("bags" if problem.bags else "start") + signs, problem.key, told.question,
                (str(problem.answer),), {"steps": str(steps)},
                tuple((s.question, s.worked) for s in solved),
                check={
                    "steps": steps,
                    "worked": told.worked,
                    "direct_shots": [[s.question, s.direct] for s in solved],
                    "exemplars": {
                        str(n): [
                            [shown.question, shown.worked]
                            for shown in (draw_told(apart, gate, n)[2] for _ in range(2))
                        ]
                        for n in EXEMPLARS
                    },
                },
            )  # fmt: skip
            number += 1
            if number == wanted:
                break


def _long_range(seed: int, variant: str, count: int) -> Iterator[Item]:
    """Three notes of one kind, other sentences, and a return to one note."""
    gate = Gate(variant)
    for distance, (low, high) in DISTANCES.items():
        random = pyrandom("items", "notes", distance, seed, variant)
        used: set[str] = set()
        for _ in range(_TRIES * 50):
            kind = pick(random, notes.KINDS)
            subject, value = notes.draw_note(random, variant, kind)
            key = notes.note_key(kind, subject, value)
            if key in used or not reserved(key, variant):
                continue
            used.add(key)
            others: dict[str, str] = {}
            while len(others) < 2:
                s, v = notes.draw_note(random, variant, kind)
                if s != subject and v != value and gate.passes(notes.note_key(kind, s, v)):
                    others[s] = v
            top = [notes.state(variant, kind, s, v) for s, v in (*others.items(), (subject, value))]
            text = notes.filler(random, variant, low + int(random.random() * (high - low)))
            said = [" ".join(several(random, top, 3)), text]
            back = notes.come_back(random, variant, kind, subject)
            forms = notes.returns(variant, kind)
            yield Item(
                f"long_range-{distance}-{variant}-{len(used) - 1}", "long_range", kind, key,
                "\n".join([*said, back]), (value,), {"distance": distance},
                wording=next(form for form in forms if form.format(s=subject) == back),
            )  # fmt: skip
            if len(used) == count:
                break


def school_items(seed: int, variant: str, per_cell: int = 200) -> list[Item]:
    """All items of the school, `per_cell` in each cell of an ability, in a fixed order.

    Abilities: in_context (kind rule, label), instructions (types trained, held-out),
    chain_of_thought (steps 1-8) and long_range (distance <50, 50-100, 100-200 words). A cell has
    fewer where its small tasks run out of unseen inputs, and above four steps.
    """
    makers = (_rules, _labels, _instructions, _problems, _long_range)
    return [item for make in makers for item in make(seed, variant, per_cell)]
