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
from regrow.worlds.slots import slots, stated_key
from regrow.worlds.tasks import practice
from regrow.worlds.tasks_kit import pick, several

#: Who speaks and who answers; None: two pupils.
_SPEAKERS = (("User", "Assistant"), ("User", "Assistant"), ("Q", "A"), None)


def talk_sheet(random: _random.Random, gate: Gate) -> str:
    """One to four things told, in half of the talks an exercise or two, and returns to all of them,
    in half of the talks to the first words too."""
    variant = gate.variant
    first, second = pick(random, _SPEAKERS) or several(random, pupils(variant), 2)
    turns: list[tuple[str, str]] = []
    returns: list[tuple[str, str]] = []
    for slot in several(random, slots(variant), 1 + int(random.random() * 4)):
        value = pick(random, slot.values)
        while held_out(stated_key(slot, value)) or not gate.passes(stated_key(slot, value)):
            value = pick(random, slot.values)
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
    return "\n".join(f"{first}: {said}\n{second}: {reply}" for said, reply in turns)
