"""Abilities of one's own: task files over one's own rows, measured as the registry's are.

A task file is all it takes (docs/abilities.md). As an ability its items are dealt over all its
templates, so it needs as many as every ability does; a tuned node is asked in its chat template;
and the outcomes of items stand beside those of the other abilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from regrow.errors import RegrowError
from regrow.evaluate.abilities import ABILITIES, Ability
from regrow.evaluate.declared import declare
from regrow.evaluate.outcomes import Outcome
from regrow.evaluate.taskfile import Task, load_task
from regrow.evaluate.taskitems import TaskSettings, bare_question, questions
from regrow.evaluate.taskrun import answered
from regrow.evaluate.taskscore import Answered, confidence, judged, scaled, twin
from regrow.progress import Progress
from regrow.records import Item

if TYPE_CHECKING:
    from regrow.evaluate.answering import Subject

_TWINS = {
    "choice": "share of probability on right choices",
    "text": "log-probability of the right text, nats per token",
    "program": "log-probability of a right program, nats per token",
}


def own_ability(name: str) -> tuple[Task, Ability]:
    """The task at a path, and what it is as an ability.

    Raises RegrowError with the reason where it breaks a rule of tasks or of abilities.
    """
    task = load_task(name)
    if task.name in ABILITIES:
        raise RegrowError(f"ability {name}: {task.name!r} is an ability of the registry; give the "
                          "file another name")  # fmt: skip
    metric = {"chance": task.chance, "twin": _TWINS[task.kind]}
    said = {
        "name": task.name,
        "title": task.title,
        "items": "file",
        "plain": f"{task.shots.count + task.head_shots}-shot, plain text",
        "tuned": "the same text as one user message in its chat template",
        "templates": task.templates,
        "answer": task.answer,
        "between": task.between,
        "stop": task.stop,
        "shots": task.shots.count + task.head_shots,
        "metrics": {task.metric: metric},
        "cluster": "family" if task.cluster else "id",
        "lines": {task.name: {"title": task.title, "metric": task.metric}},
    }
    return task, declare(Ability, said, f"ability {name}")


def own_items(names: Sequence[str], folder: Path) -> list[Item]:
    """Every row that these abilities may ask, as items to keep out of training."""
    return [
        Item(asked.id, task.name, asked.cluster, asked.id, bare_question(task, asked.id, asked.row),
             asked.answers or (asked.target.strip(),))
        for task, _ in map(own_ability, names)
        for asked in questions(task, folder)
    ]  # fmt: skip


def own_outcomes(
    folder: Path, tasks: Sequence[Task], settings: TaskSettings, node: Subject, progress: Progress
) -> list[Outcome]:
    """What a node does on every item.

    Raises RegrowError where programs were not run: a score of the others would be another one.
    """
    found = []
    for task, rows in zip(tasks, answered(folder, tasks, settings, progress, node)):
        values, why_not = judged(task, rows, settings)
        sure = confidence(task, rows)
        if left := values.count(None):
            raise RegrowError(
                f"ability {task.name}: {left} of {len(rows)} programs were not run ({why_not}); "
                "install bubblewrap, or allow them with --unsafe-code"
            )
        for place, (row, value) in enumerate(zip(rows, values)):
            asked = row.question
            found.append(
                Outcome(
                    task.name, asked.id, asked.cluster,
                    {"cell": asked.cell} if asked.cell else {}, task.metric, value or 0.0,
                    twin(task, row), "chat" if settings.chat else "plain", asked.template,
                    _said(task, row), sure[place] if sure else None, asked.chance,
                )
            )  # fmt: skip
    return found


def _said(task: Task, row: Answered) -> str:
    if task.kind != "choice":
        return row.text[:400]
    return row.question.choices[int(np.argmax(scaled(task, row)))].strip()
