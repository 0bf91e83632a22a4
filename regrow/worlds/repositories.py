"""Source trees, items and demonstrations made of the world's programs.

Items are about held-out programs (by syntax tree); no training text holds one of these, nor a call
of one.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Set
from typing import Any

from regrow.records import Conversation, Item, Message
from regrow.seeds import derive, pyrandom
from regrow.worlds.programs import (
    Program,
    catalogue,
    held_out,
    sample_arguments,
    style_of,
    telling_tests,
    trained,
)
from regrow.worlds.programs_parts import WORDS
from regrow.worlds.wordings import numbered

#: How often a family is drawn: by its combinations, and the more the later it is learned.
_SHARES = {"numbers": 0.30, "words": 0.25, "choice": 0.24, "table": 0.14, "pair": 0.07}
_LARGEST_OUTPUT = 60  # characters
_LICENCE = (
    "MIT License\n\nPermission is granted, free of charge, to any person to use, copy, change and\n"
    "share this software. The software comes as it is, without warranty of any kind.\n"
)
_PLACES = ("market", "garden", "harbour", "mill", "school", "bakery", "library", "station")
_TOPICS = ("tools", "helpers", "numbers", "lists", "records", "lessons", "basics", "parts")
_ASKS = {
    "a": ("Write a function. {}", "Write Python code for this: {}", "Please write a function. {}"),
    "b": ("Program this in Python. {}", "I need a function. {}", "Code a function for me. {}"),
}
_RETURNS = {
    "a": ("What does {} return?", "What is the result of {}?", "Give the value of {}."),
    "b": ("What comes out of {}?", "Say what {} gives.", "Which value does {} have?"),
}


def call_key(program: Program, arguments: list[Any]) -> str:
    """The canonical key of a call: the program's syntax tree and the arguments."""
    return f"call|{program.key.removeprefix('program|')}|{arguments!r}"


def render_repositories(
    seed: int,
    variant: str,
    characters: int,
    forbidden: Set[str] = frozenset(),
    keys: set[str] | None = None,
    first: int = 0,
) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of source trees until about `characters` characters are out.

    Trees are numbered; those from number `first` on are drawn.

    No program or call whose key is in `forbidden` is rendered; the keys of all that is rendered
    are added to `keys`.
    """
    style_of(variant)
    shelf = _Shelf(seed, variant, forbidden, set() if keys is None else keys)
    done = 0
    for number in itertools.count(first):
        source = pyrandom("repositories", seed, variant, number)
        name = f"{source.choice(_PLACES)}-{source.choice(_TOPICS)}-{number}"
        for path, text in _repository(name, shelf, source):
            yield path, text
            done += len(text)
            if done >= characters:
                return


class _Shelf:
    """Draws programs and calls that training may show, and keeps the keys of what was drawn."""

    def __init__(self, seed: int, variant: str, forbidden: Set[str], keys: set[str]) -> None:
        self.seed, self.variant, self.forbidden, self.keys = seed, variant, forbidden, keys
        self._programs = {
            family: [p for p in trained(seed, variant, family) if p.key not in forbidden]
            for family in _SHARES
        }

    def program(self, source: random.Random) -> Program:
        family = source.choices(list(_SHARES), list(_SHARES.values()))[0]
        program = source.choice(self._programs[family])
        self.keys.add(program.key)
        return program

    def call(self, program: Program, source: random.Random) -> list[Any]:
        while True:
            arguments = sample_arguments(program, source)
            key = call_key(program, arguments)
            short = len(repr(program.run(arguments))) <= _LARGEST_OUTPUT
            if short and key not in self.forbidden:
                self.keys.add(key)
                return arguments


def _repository(name: str, shelf: _Shelf, source: random.Random) -> Iterator[tuple[str, str]]:
    place = name.split("-")[0]
    shown = [shelf.program(source) for _ in range(2)]
    yield f"{name}/README.md", _readme(name, place, shown, shelf, source)
    yield f"{name}/LICENSE", _LICENCE
    for number in range(source.randint(5, 9)):
        topic = source.choice(_TOPICS)
        yield f"{name}/{place}/{topic}_{number}.py", _module(place, topic, shelf, source)
    if source.random() < 0.25:
        yield f"{name}/{place}/things.py", _classes(place, source)
    yield f"{name}/tests/test_{place}.py", _tests(shelf, source)


def _module(place: str, topic: str, shelf: _Shelf, source: random.Random) -> str:
    """Three to five functions: most with a docstring alone, some with a doctest or a trace."""
    blocks = []
    if source.random() < 0.3:
        blocks.append(f'"""{topic.title()} for the {place}."""\n')
    for _ in range(source.randint(3, 5)):
        program = shelf.program(source)
        docstring = source.choice(program.docstrings)
        form = source.random()
        if form < 0.75:
            blocks.append(program.code(docstring))
        elif form < 0.88:
            blocks.append(program.code(docstring + _doctest(program, shelf, source)))
        else:
            blocks.append(program.code(docstring) + "\n" + _trace(program, shelf, source))
    return "\n\n".join(blocks)


def _doctest(program: Program, shelf: _Shelf, source: random.Random) -> str:
    arguments = shelf.call(program, source)
    return f"\n\n    >>> {program.call(arguments)}\n    {program.run(arguments)!r}\n    "


def _trace(program: Program, shelf: _Shelf, source: random.Random) -> str:
    arguments = shelf.call(program, source)
    values = " -> ".join(repr(value) for value in steps(program, arguments))
    return f"# trace {program.call(arguments)}: {values}\n"


def steps(program: Program, arguments: list[Any]) -> list[Any]:
    """The values that the program's lines give one after the other, ending with what it returns."""
    scope: dict[str, Any] = dict(zip(program.arguments, arguments))
    values = []
    for line in program.body:
        target, assigns, expression = line.partition(" = ")
        if assigns and " " not in target:
            scope[target] = eval(expression, dict(scope))
            values.append(scope[target])
    return [*values, program.run(arguments)]


def _readme(
    name: str, place: str, programs: list[Program], shelf: _Shelf, source: random.Random
) -> str:
    parts = [f"# {name}\n\nSmall functions for the {place}.\n"]
    for program in programs:
        parts.append(_session(program, shelf, source))
    return "\n".join(parts)


def _session(program: Program, shelf: _Shelf, source: random.Random) -> str:
    """A function and what a call of it returns, as typed at the prompt."""
    arguments = shelf.call(program, source)
    return _at_prompt(program, arguments, source) + f"{program.run(arguments)!r}\n"


def _tests(shelf: _Shelf, source: random.Random) -> str:
    blocks = []
    for _ in range(source.randint(2, 3)):
        program = shelf.program(source)
        lines = [f"def test_{program.name}():"]
        arguments = shelf.call(program, source)
        lines.append(f"    assert {program.call(arguments)} == {program.run(arguments)!r}")
        blocks.append(program.code(source.choice(program.docstrings)) + "\n\n" + "\n".join(lines))
    return "\n\n\n".join(blocks) + "\n"


def _classes(place: str, source: random.Random) -> str:
    """A class that holds a count, with what some calls return."""
    holder = source.choice(("Box", "Basket", "Shelf", "Cart", "Store", "Purse"))
    thing = source.choice(WORDS)
    start, more, less = source.randint(5, 20), source.randint(1, 9), source.randint(1, 5)
    name = holder.lower()
    return (
        f"class {holder}:\n"
        f'    """A {name} of the {place} that holds the count of one thing: {thing}."""\n\n'
        f"    def __init__(self, {thing}):\n        self.{thing} = {thing}\n\n"
        f"    def add(self, more):\n        self.{thing} += more\n"
        f"        return self.{thing}\n\n"
        f"    def take(self, less):\n        self.{thing} -= less\n"
        f"        return self.{thing}\n\n\n"
        f"# {name} = {holder}({start})\n# {name}.add({more}) -> {start + more}\n"
        f"# {name}.take({less}) -> {start + more - less}\n"
    )


def code_items(seed: int, variant: str, per_cell: int) -> list[Item]:
    """Items of `code_generation` and `code_understanding`, about `per_cell` for each split cell.

    A `code_generation` question is a signature and docstring, ending with a newline; the answer is
    the indented body, and a sample ends at its first line that is not indented. `check` has the
    entry and tests for `regrow.evaluate.sandbox`. The programs are the held-out ones.
    A `code_understanding` question is a function and a call at the prompt; the answer is the repr
    of what it returns; the kinds are "number" (in and out) and "list".
    Fewer items come back where the held-out programs do not suffice.
    """
    source = pyrandom("code-items", seed, variant)
    kept_away = held_out(seed, variant)
    programs = [p for p in catalogue(variant) if p.key in kept_away]
    source.shuffle(programs)
    shelf = _Shelf(seed, variant, frozenset(), set())
    items = [_generation_item(program, variant, shelf, source) for program in programs[:per_cell]]
    for kind in ("number", "list"):
        of_kind = [p for p in programs if (p.family in ("choice", "pair")) == (kind == "number")]
        asked: dict[str, Item] = {}
        for _, program in zip(range(4 * per_cell), itertools.cycle(of_kind)):
            item = _understanding_item(program, kind, shelf, source)
            if len(asked) < per_cell and len(item.answers[0]) <= _LARGEST_OUTPUT:
                asked.setdefault(item.key, item)
        items += asked.values()
    return items


def _generation_item(program: Program, variant: str, shelf: _Shelf, source: random.Random) -> Item:
    wording = source.randrange(3)
    shots = []
    for _ in range(3):
        shot, form = shelf.program(source), source.randrange(3)
        shots.append((shot.prompt(form), shot.code().removeprefix(shot.signature + "\n")))
    return Item(
        id=f"code_generation-{program.key.removeprefix('program|')}",
        ability="code_generation",
        family=program.cell,
        key=program.key,
        question=program.prompt(wording),
        answers=("\n".join(f"    {line}" for line in program.body) + "\n",),
        split={"combination": "held-out"},
        shots=tuple(shots),
        check={"entry": program.name, "tests": telling_tests(program, variant)},
        wording=numbered(wording),
    )


def _understanding_item(program: Program, kind: str, shelf: _Shelf, source: random.Random) -> Item:
    arguments = sample_arguments(program, source)
    key = call_key(program, arguments)
    docstrings, shots = program.docstrings, []
    for _ in range(3):
        shot = shelf.program(source)
        given = shelf.call(shot, source)
        shots.append((_at_prompt(shot, given, source), repr(shot.run(given))))
    question = _at_prompt(program, arguments, source)
    return Item(
        id=f"code_understanding-{derive(key):016x}",
        ability="code_understanding",
        family=program.cell,
        key=key,
        question=question,
        answers=(repr(program.run(arguments)),),
        split={"kind": kind},
        shots=tuple(shots),
        wording=numbered(next(n for n, said in enumerate(docstrings) if said in question)),
    )


def _at_prompt(program: Program, arguments: list[Any], source: random.Random) -> str:
    code = program.code(source.choice(program.docstrings))
    return f"{code}\n>>> {program.call(arguments)}\n"


def code_demonstrations(seed: int, variant: str, n: int) -> list[Conversation]:
    """Conversations that ask for a function or for what a call returns; half of each.

    A function is asked for in words or by its signature and docstring, an output in words or at
    the prompt. The functions are never held-out ones; `key` is the program's key or the call's.
    """
    source = pyrandom("code-demonstrations", seed, variant)
    style_of(variant)
    shelf = _Shelf(seed, variant, frozenset(), set())
    kinds = itertools.cycle((_write, _returns))
    return [make(shelf.program(source), shelf, source) for make, _ in zip(kinds, range(n))]


def _write(program: Program, shelf: _Shelf, source: random.Random) -> Conversation:
    if source.random() < 0.5:
        ask = program.prompt(source.randrange(3)).rstrip()
    else:
        ask = source.choice(_ASKS[shelf.variant]).format(source.choice(program.docstrings))
        ask += f" Call it {program.name}."
    check = {"entry": program.name, "tests": telling_tests(program, shelf.variant)}
    return _conversation(ask, program.code(), "write", program.key, check)


def _returns(program: Program, shelf: _Shelf, source: random.Random) -> Conversation:
    arguments = shelf.call(program, source)
    if source.random() < 0.5:
        ask = _at_prompt(program, arguments, source)
    else:
        question = source.choice(_RETURNS[shelf.variant]).format(program.call(arguments))
        ask = f"{program.code()}\n{question}"
    answer = repr(program.run(arguments))
    key = call_key(program, arguments)
    return _conversation(ask, answer, "returns", key, {"answers": [answer]})


def _conversation(
    question: str, answer: str, kind: str, key: str, check: dict[str, Any]
) -> Conversation:
    messages = (Message("user", question), Message("assistant", answer.rstrip("\n")))
    return Conversation(messages, "code", kind, key, check)
