"""Demonstrations from the school: tasks asked in a chat, and worked problems."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from regrow.records import Conversation, Message
from regrow.seeds import pyrandom
from regrow.worlds.sheets_gate import Gate
from regrow.worlds.sheets_rules import asked, draw
from regrow.worlds.tasks import shown_tasks
from regrow.worlds.tasks_kit import pick
from regrow.worlds.textbook import draw_told

#: One demonstration in so many is a word problem.
PROBLEM_SHARE = 8


def demonstrations_tasks(
    seed: int,
    variant: str,
    n: int,
    forbidden: AbstractSet[str] = frozenset(),
    keys: set[str] | None = None,
) -> list[Conversation]:
    """So many demonstrations: seven in eight are tasks of shown families, one a word problem.

    Every shown task comes equally often. Problems are answered in worked steps, or with the bare
    answer where the user asks for only that.
    """
    random, gate = pyrandom("lessons", seed, variant), Gate(variant, forbidden, keys)
    shown = shown_tasks(variant)
    conversations = []
    for number in range(n):
        if number % PROBLEM_SHARE == 0:
            key, steps, told = draw_told(random, gate)
            style = random.random()
            user, answer = told.question, told.worked
            if style < 0.2:
                user, answer = f"{user} Give only the answer.", told.direct
            elif style < 0.5:
                user = f"{user} Work step by step."
            family, kind = "problems", f"{steps} steps"
        else:
            task = shown[(number - number // PROBLEM_SHARE) % len(shown)]
            given, answer = draw(random, task, gate)
            user = asked(random, pick(random, task.wordings), given)
            family, kind, key = task.family, task.name, task.key(given)
        turns = (Message("user", user), Message("assistant", answer))
        conversations.append(Conversation(turns, family, kind, key))
    random.shuffle(conversations)
    return conversations
