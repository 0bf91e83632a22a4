"""Sheets that only their own text explains: labels drawn per sheet, and arbitrary pairs that recur.

They are what a model must read to form induction (Olsson et al. 2022), and then the softer kind
that gives a new word the label of words like it.
"""

from __future__ import annotations

import random as _random
from collections.abc import Sequence
from functools import cache

from regrow.worlds.lexicon import CATEGORIES, VOCABULARY, pupils
from regrow.worlds.sheets_gate import Gate
from regrow.worlds.tasks_kit import pick, reserved, several

#: Ways to sort: each value is a set of groups that exclude one another.
SORTS: dict[str, dict[str, tuple[str, ...]]] = {
    "category": CATEGORIES,
    "size": {
        "small": tuple(str(n) for n in range(1, 50)),
        "large": tuple(str(n) for n in range(50, 100)),
    },
    "parity": {
        "even": tuple(str(n) for n in range(2, 100, 2)),
        "odd": tuple(str(n) for n in range(1, 100, 2)),
    },
}
_SORT_DRAW = ("category",) * 8 + ("size", "parity")
#: Words that mean nothing stand close together: what is copied follows at once, or one sign later.
BOUND_FORMATS: tuple[str, ...] = ("- {x} {y}", "- {x} = {y}", "* {x} -> {y}")
_SPLIT = tuple(
    (text[: text.index("{x}")], text[text.index("{x}") + 3 : text.index("{y}")])
    for text in BOUND_FORMATS
)


def label_key(word: str, label: str) -> str:
    """The canonical key of a word under a label; one in eight never stands in training text."""
    return f"label|{word}|{label}"


@cache
def trainable(variant: str, sort: str, group: str, label: str) -> tuple[str, ...]:
    """The words of a group whose pairing with this label is not kept for evaluation."""
    words = SORTS[sort][group]
    return tuple(w for w in words if not reserved(label_key(w, label), variant) and w != label)


def label_sheet(random: _random.Random, gate: Gate) -> list[str]:
    """Eight to twenty words or numbers in two or three classes, named by arbitrary words.

    In four sheets of ten each class has few words that recur: a bridge from copying the label of
    the same word to copying the label of a word like it.
    """
    sort = pick(random, _SORT_DRAW)
    groups = tuple(SORTS[sort])
    count = 3 if sort == "category" and random.random() < 0.15 else 2
    chosen = several(random, groups, count)
    labels = several(random, VOCABULARY, count)
    pools: list[Sequence[str]] = [
        trainable(gate.variant, sort, group, label) for group, label in zip(chosen, labels)
    ]
    if random.random() < 0.4:
        pools = [several(random, pool, 3) for pool in pools]
    before, between = pick(random, _SPLIT)
    lines: list[str] = []
    wanted = 8 + int(random.random() * 13)
    for _ in range(30 * wanted):
        at = int(random.random() * count)
        word = pick(random, pools[at])
        if gate.passes(label_key(word, labels[at])):
            lines.append(before + word + between + labels[at])
        if len(lines) == wanted:
            return lines
    return label_sheet(random, gate)  # the gate held back every word of a class: draw others


def _repeated_words(random: _random.Random) -> str:
    words = several(random, VOCABULARY, 5 + int(random.random() * 18))
    line = pick(random, (" ", " ", ", ")).join(words)
    return "\n".join([line] * (2 + int(random.random() * 3)))


def _pairs(random: _random.Random, variant: str) -> list[tuple[str, str]]:
    """Three to eight arbitrary pairs: word and word, or pupil and number."""
    count = 3 + int(random.random() * 6)
    if random.random() < 0.8:
        words = several(random, VOCABULARY, 2 * count)
        return list(zip(words[:count], words[count:]))
    persons = several(random, pupils(variant), count)
    return [(person, str(10 + int(random.random() * 90))) for person in persons]


def _recurring_pairs(random: _random.Random, variant: str) -> str:
    pairs = _pairs(random, variant)
    before, between = pick(random, _SPLIT)
    lines = [before + x + between + y for x, y in pairs]
    if random.random() < 0.5:
        drawn = [pick(random, lines) for _ in range(3 * len(lines))]
        return "\n".join(lines + drawn)
    return "\n".join(
        line
        for _ in range(3 + int(random.random() * 2))
        for line in several(random, lines, len(lines))
    )


_MEANINGS = {
    "a": (("{x} means {y}.", "What does {x} mean? {y}"), ("For {x} say {y}.", "{x}? {y}")),
    "b": (("{x} stands for {y}.", "What is {x} for? {y}"), ("Call {x} {y}.", "{x}? {y}")),
}


def _dictionary(random: _random.Random, variant: str) -> str:
    pairs = _pairs(random, variant)
    said, question = pick(random, _MEANINGS[variant])
    lines = [said.format(x=x, y=y) for x, y in pairs]
    lines += [question.format(x=x, y=y) for x, y in several(random, pairs, len(pairs))]
    return "\n".join(lines)


def binding_sheet(random: _random.Random, gate: Gate) -> list[str]:
    """Arbitrary words that recur: repeated lists, random pairs in several rounds, dictionaries."""
    kind = random.random()
    if kind < 0.25:
        return _repeated_words(random).split("\n")
    if kind < 0.8:
        return _recurring_pairs(random, gate.variant).split("\n")
    return _dictionary(random, gate.variant).split("\n")
