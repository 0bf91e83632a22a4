"""Which conversations a stage learns from: some task types, with or without steps, some aside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from regrow.errors import RegrowError, nearest
from regrow.records import Conversation, Message
from regrow.seeds import derive, rng

_FINE = 1 << 20  # steps in which a share is told


def task_type(talk: Conversation) -> str:
    """The task type of a conversation: its family, in the built-in world with its kind."""
    return talk.family if talk.kind in ("", "real") else f"{talk.family}/{talk.kind}"


def of_families(talks: Sequence[Conversation], families: Sequence[str]) -> list[Conversation]:
    """The conversations of these families. Raises RegrowError for one that there is none of."""
    known = {talk.family for talk in talks}
    for family in families:
        if family not in known:
            raise RegrowError(f"no demonstration is of family {family!r}{nearest(family, known)}")
    return [talk for talk in talks if talk.family in families]


def of_types(
    talks: Sequence[Conversation], count: int, seed: int
) -> tuple[list[Conversation], list[str]]:
    """The conversations of `count` task types drawn by seed, and those types, sorted.

    The types of a smaller count are among those of a larger one, so that runs that differ in the
    count alone are nested (FLAN, Wei et al. 2022, sec. 4.1). Raises RegrowError where there are
    fewer.
    """
    types = sorted({task_type(talk) for talk in talks})
    if count > len(types):
        raise RegrowError(f"task_types is {count}, but there are only {len(types)} task types")
    chosen = {types[i] for i in rng(seed, "task types").permutation(len(types))[:count]}
    return [talk for talk in talks if task_type(talk) in chosen], sorted(chosen)


def so_many(talks: Sequence[Conversation], count: int, seed: int) -> list[Conversation]:
    """`count` of the conversations, drawn by seed; those of a smaller count are among them.

    Raises RegrowError where there are fewer.
    """
    if count > len(talks):
        raise RegrowError(f"examples is {count}, but there are only {len(talks)} conversations")
    return [talks[i] for i in sorted(rng(seed, "examples").permutation(len(talks))[:count])]


def without_steps(talks: Sequence[Conversation]) -> list[Conversation]:
    """The conversations with worked answers cut to their last sentence, 'The answer is ...'.

    What asks a user for steps goes too. Everything else stays as it is.
    """
    return [replace(talk, messages=tuple(_bare(turn) for turn in talk.messages)) for talk in talks]


def _bare(turn: Message) -> Message:
    if turn.role == "user":
        return replace(turn, content=turn.content.removesuffix(" Work step by step."))
    worked = re.search(r"(?<=\s)The answer is [^\n]+$", turn.content)
    return replace(turn, content=worked[0]) if turn.role == "assistant" and worked else turn


def keep_aside(
    talks: Sequence[Conversation], share: float
) -> tuple[list[Conversation], list[Conversation]]:
    """(learnt from, kept aside): by the hash of how a conversation opens.

    So one that opens alike is on the same side, in every node and for every seed.
    """
    learnt: list[Conversation] = []
    aside: list[Conversation] = []
    for talk in talks:
        held = derive("held", opening(talk)) % _FINE < share * _FINE
        (aside if held else learnt).append(talk)
    return learnt, aside


def opening(talk: Conversation) -> str:
    """What the user says first: what is said to the system before it may be the same for all."""
    return next((turn.content for turn in talk.messages if turn.role == "user"), "")


def topic(prompt: Conversation) -> str:
    """What is asked about, whatever the words: the person where the truth tells of one, else the
    key, and where that only numbers a row the opening."""
    if facts := prompt.check.get("facts"):
        return str(facts["name"])
    return opening(prompt) if prompt.kind == "real" or not prompt.key else prompt.key


def set_of(talk: Conversation) -> str:
    """The set of data that a conversation is from; `world` for the built-in world's."""
    return talk.key.partition("|")[0] if talk.kind == "real" else "world"
