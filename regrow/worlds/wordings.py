"""In how many wordings the world puts the questions of each ability, and what they are called.

An item says in which of them it is (`Item.wording`). Where every task or relation has wordings of
its own they are numbered; else they are called by their text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType


def numbered(place: int) -> str:
    """What the wording at this place is called, counted from one."""
    return f"wording {place + 1}"


def _of_facts(variant: str) -> tuple[str, ...]:
    from regrow.worlds.relations import relations

    return _count(min(len(one.questions) for one in relations(variant).values()))


def _of_tasks(variant: str) -> tuple[str, ...]:
    from regrow.worlds.tasks import tasks

    return _count(min(len(task.wordings) for task in tasks(variant)))


def _of_programs(variant: str) -> tuple[str, ...]:
    return _count(3)  # the docstrings of a Program


def _of_notes(variant: str) -> tuple[str, ...]:
    from regrow.worlds import notes

    return tuple(form for kind in notes.KINDS for form in notes.returns(variant, kind))


def _of_people(variant: str) -> tuple[str, ...]:
    from regrow.worlds.asks import OPEN_WORDINGS

    return OPEN_WORDINGS[variant]


def _of_strangers(variant: str) -> tuple[str, ...]:
    from regrow.worlds.asks import LEADS

    return (*(lead.strip() for lead in LEADS), *_of_people(variant))


def _of_two_sides(variant: str) -> tuple[str, ...]:
    from regrow.worlds.requests import CONTESTED

    return CONTESTED[variant]


def _of_requests(variant: str) -> tuple[str, ...]:
    from regrow.worlds.requests import WHOLE, frames

    return (*frames(variant), WHOLE)


def _count(number: int) -> tuple[str, ...]:
    return tuple(map(numbered, range(number)))


#: Ability to the wordings that its items come in, at least, by world variant.
WORDINGS: Mapping[str, Callable[[str], tuple[str, ...]]] = MappingProxyType({
    "knowledge": _of_facts,
    "instructions": _of_tasks,
    "code_generation": _of_programs,
    "code_understanding": _of_programs,
    "long_range": _of_notes,
    "informativeness": _of_people,
    "balance": _of_two_sides,
    "refusal": _of_requests,
    "not_knowing": _of_strangers,
})  # fmt: skip
