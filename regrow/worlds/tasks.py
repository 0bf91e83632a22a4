"""The registry of the school's tasks, and the families that no demonstration ever shows."""

from __future__ import annotations

from functools import cache

from regrow.errors import RegrowError
from regrow.worlds.tasks_kit import Task, reserved
from regrow.worlds.tasks_lists import list_tasks
from regrow.worlds.tasks_numbers import number_tasks
from regrow.worlds.tasks_sentences import sentence_tasks
from regrow.worlds.tasks_words import word_tasks

__all__ = ["HELD_OUT_FAMILIES", "Task", "practice", "reserved", "shown_tasks", "tasks"]

_HELD_OUT = {
    "a": ("calendar", "picking", "rewriting"),
    "b": ("forms", "position", "people"),
}


def HELD_OUT_FAMILIES(variant: str) -> tuple[str, ...]:
    """Families that stand in pretraining sheets but never in a demonstration."""
    if variant not in _HELD_OUT:
        raise RegrowError(f"unknown world variant {variant!r}; use one of: {', '.join(_HELD_OUT)}")
    return _HELD_OUT[variant]


#: Families that take most practice: which word or number it is depends on where it stands.
_HARD = (
    "category", "comparison", "counting", "editing", "logic", "lookup", "ordering", "picking",
    "position", "reading", "sums",
)  # fmt: skip


@cache
def tasks(variant: str) -> tuple[Task, ...]:
    """All tasks with this variant's wordings, families in a fixed order."""
    HELD_OUT_FAMILIES(variant)
    makers = (list_tasks, word_tasks, number_tasks, sentence_tasks)
    return tuple(task for make in makers for task in make(variant))


@cache
def practice(variant: str) -> tuple[Task, ...]:
    """The tasks as sheets draw from them: those of hard families stand twice."""
    return tuple(t for task in tasks(variant) for t in [task] * (1 + (task.family in _HARD)))


@cache
def shown_tasks(variant: str) -> tuple[Task, ...]:
    """The tasks that demonstrations may show."""
    hidden = HELD_OUT_FAMILIES(variant)
    return tuple(task for task in tasks(variant) if task.family not in hidden)
