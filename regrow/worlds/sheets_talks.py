"""Talks: somebody tells things about themselves, speaks of other matters, and asks for them again.

They are to dialogue what notes are to prose: what tuning later brings out in chat is learnt here.
Pairings of a thing and its value that items ask for never stand in one.
"""

from __future__ import annotations

import random as _random

from regrow.worlds.dialogues import FIRST, THANKS
from regrow.worlds.lexicon import pupils
from regrow.worlds.requests import held_out
from regrow.worlds.sheets_gate import Gate
from regrow.worlds.sheets_rules import asked, draw
from regrow.worlds.slots import Slot, other_slots, slots, stated_key
from regrow.worlds.tasks import practice
from regrow.worlds.tasks_kit import pick, several

#: Who speaks and who answers; None: two pupils.
_SPEAKERS = (("User", "Assistant"), ("User", "Assistant"), ("Q", "A"), None)


def talk_sheet(random: _random.Random, gate: Gate) -> list[str]:
    """One to four things told, in half of the talks an exercise or two, and returns to all of them,
    in half of the talks to the first words too."""
    variant = gate.variant
    first, second = pick(random, _SPEAKERS) or several(random, pupils(variant), 2)
    turns: list[tuple[str, str]] = []
    returns: list[tuple[str, str]] = []
    for slot, value in _told(random, gate, 1 + int(random.random() * 4)):
        turns.append((slot.tell.format(v=value), THANKS[variant]))
        returns.append((slot.question, slot.answer.format(v=value)))
    for _ in range(max(0, int(random.random() * 4) - 1)):
        task = pick(random, practice(variant))
        given, answer = draw(random, task, gate)
        exercise = asked(random, pick(random, task.wordings), given), answer
        turns.insert(int(random.random() * (len(turns) + 1)), exercise)
    opening, (question, answer) = turns[0][0], FIRST[variant]
    if "\n" not in opening and random.random() < 0.5:
        returns.append((question, answer.format(question=opening)))
    for _ in range(1 + (random.random() < 0.5)):
        turns += several(random, returns, len(returns))
    return ["\n".join(f"{first}: {said}\n{second}: {reply}" for said, reply in turns)]


def _told(random: _random.Random, gate: Gate, count: int) -> list[tuple[Slot, str]]:
    """Different things with their values, a quarter of them of those that items ask for."""
    told: dict[Slot, str] = {}
    while len(told) < count:
        asked = random.random() < 0.25
        slot = pick(random, (slots if asked else other_slots)(gate.variant))
        value = pick(random, slot.values)
        key = stated_key(slot, value)
        if not asked or (not held_out(key) and gate.passes(key)):
            told[slot] = value
    return list(told.items())
