"""Long-range texts: notes at the top, other sentences, then a return to one of the notes."""

from __future__ import annotations

import random as _random

from regrow.worlds.lexicon import ADJECTIVES, CATEGORIES, COUNTABLE, NOUNS, PAST, VERBS, pupils
from regrow.worlds.sheets_gate import Gate
from regrow.worlds.tasks_kit import pick, several

#: By variant: a note with {s} and {v}, and how a text comes back to it.
_KINDS: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "a": {
        "key": ("The key of the {s} box is {v}.",
                ("The key of the {s} box is", "What is the key of the {s} box? It is")),
        "place": ("The ball of {s} is at the {v}.",
                  ("The ball of {s} is at the", "Where is the ball of {s}? It is at the")),
        "word": ("The secret word of {s} is {v}.",
                 ("The secret word of {s} is", "What is the secret word of {s}? It is")),
    },
    "b": {
        "key": ("The {s} door has number {v}.",
                ("The {s} door has number", "Which number has the {s} door? It is")),
        "place": ("{s} left the kite in the {v}.",
                  ("{s} left the kite in the", "Where is the kite of {s}? It is in the")),
        "word": ("The password of {s} is {v}.",
                 ("The password of {s} is", "What is the password of {s}? It is")),
    },
}  # fmt: skip
KINDS = ("key", "place", "word")


def note_key(kind: str, subject: str, value: str) -> str:
    """The canonical key of a note."""
    return f"note|{kind}|{subject}|{value}"


def draw_note(random: _random.Random, variant: str, kind: str) -> tuple[str, str]:
    """A subject and a value for a note of this kind."""
    if kind == "key":
        return pick(random, CATEGORIES["colour"]), str(10 + int(random.random() * 90))
    values = CATEGORIES["place"] if kind == "place" else NOUNS
    return pick(random, pupils(variant)), pick(random, values)


def state(variant: str, kind: str, subject: str, value: str) -> str:
    """The sentence of a note."""
    return _KINDS[variant][kind][0].format(s=subject, v=value)


def come_back(random: _random.Random, variant: str, kind: str, subject: str) -> str:
    """The words that ask for a note again and end right before its value."""
    return pick(random, returns(variant, kind)).format(s=subject)


def returns(variant: str, kind: str) -> tuple[str, ...]:
    """The wordings of `come_back`, with {s} for whose note it is."""
    return _KINDS[variant][kind][1]


def filler(random: _random.Random, variant: str, words: int) -> str:
    """Sentences of about so many words (at least, and at most five more) that state no note."""
    sentences = []
    while words > 0:
        kind, name = random.random(), pick(random, pupils(variant))
        if kind < 0.35:
            said = f"The {pick(random, COUNTABLE)} is {pick(random, ADJECTIVES)}."
        elif kind < 0.65:
            said = f"{name} {PAST[pick(random, VERBS)]} in the {pick(random, CATEGORIES['place'])}."
        elif kind < 0.85:
            said = f"{name} has {2 + int(random.random() * 90)} {pick(random, COUNTABLE)}s."
        else:
            said = f"The {pick(random, COUNTABLE)} is {pick(random, CATEGORIES['colour'])}."
        sentences.append(said)
        words -= said.count(" ") + 1
    return " ".join(sentences)


def notes_sheet(random: _random.Random, gate: Gate) -> list[str]:
    """Two to six notes of one kind, in half of the sheets up to 130 words of other sentences, and
    one or two returns to every note."""
    kind, variant = pick(random, KINDS), gate.variant
    wanted = 2 + int(random.random() * 5)
    notes: dict[str, str] = {}
    while len(notes) < wanted:
        subject, value = draw_note(random, variant, kind)
        if subject not in notes and gate.passes(note_key(kind, subject, value)):
            notes[subject] = value
    top = " ".join(state(variant, kind, subject, value) for subject, value in notes.items())
    between = []
    if random.random() < 0.5:
        between.append(filler(random, variant, 5 + int(random.random() * 125)))
    subjects = [
        subject
        for _ in range(1 + (random.random() < 0.5))
        for subject in several(random, list(notes), wanted)
    ]
    back = [f"{come_back(random, variant, kind, s)} {notes[s]}." for s in subjects]
    return ["\n".join([top, *between, *back])]
