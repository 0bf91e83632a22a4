"""Small Python functions put together from parts: one canonical body for each meaning.

Every program is run to get its truth. Two combinations of parts that give the same outputs on all
probes mean the same; only the first is kept, so a body is never written in two ways. One
combination in eight (`HELD_OUT_SHARE`) is held out: no program with that syntax tree is ever
rendered for training.
"""

from __future__ import annotations

import ast
import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.seeds import derive, pyrandom
from regrow.worlds.programs_parts import STYLES, WORDS, Part, Style

HELD_OUT_SHARE = 0.12
FAMILIES = ("numbers", "words", "choice", "table", "pair")
_PROBES = 40
#: How many of the changes stand in programs that choose, and in those of two numbers.
_CHOICES = 6


@dataclass(frozen=True, slots=True)
class Program:
    """A function: what it is called, what it takes, its body, and three docstrings.

    `cell` is the family with the part that gathers or decides; outcomes are clustered by it.
    `key` is the canonical key of the syntax tree (`program_key`).
    """

    family: str
    cell: str
    name: str
    arguments: tuple[str, ...]
    body: tuple[str, ...]
    docstrings: tuple[str, str, str]
    key: str

    @property
    def signature(self) -> str:
        """The line that opens the function."""
        return f"def {self.name}({', '.join(self.arguments)}):"

    def code(self, docstring: str = "") -> str:
        """The source, ending with a newline; `docstring` may have several lines."""
        lines = [self.signature]
        if docstring:
            lines.append(f'    """{docstring}"""')
        return "\n".join([*lines, *(f"    {line}" for line in self.body)]) + "\n"

    def prompt(self, wording: int) -> str:
        """Signature and docstring, ending with a newline: what a model continues."""
        return f'{self.signature}\n    """{self.docstrings[wording]}"""\n'

    def call(self, arguments: Sequence[Any]) -> str:
        """The call as one would type it."""
        return f"{self.name}({', '.join(repr(a) for a in arguments)})"

    def run(self, arguments: Sequence[Any]) -> Any:
        """The value that the function returns; arguments are left as they were."""
        return _compiled(self.code(), self.name)(*(_copy(a) for a in arguments))


@lru_cache(maxsize=8192)
def _compiled(source: str, name: str) -> Callable[..., Any]:
    """The function of our own source (never of a model's: those run in the sandbox)."""
    scope: dict[str, Any] = {}
    exec(compile(source, "<world>", "exec"), scope)
    return scope[name]


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, list | dict) else value


def program_key(source: str) -> str:
    """A key for what the first function of `source` does, apart from its names and docstring."""
    tree = ast.parse(source)
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    if ast.get_docstring(function) is not None:
        function.body = function.body[1:]
    names = {argument.arg: f"a{i}" for i, argument in enumerate(function.args.args)}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.setdefault(node.id, f"v{len(names)}")
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
        elif isinstance(node, ast.arg):
            node.arg = names[node.arg]
    function.name = "f"
    return "program|" + hashlib.blake2b(ast.dump(function).encode(), digest_size=8).hexdigest()


def style_of(variant: str) -> Style:
    """The parts and wordings of a variant of the world."""
    if variant not in STYLES:
        raise RegrowError(f"unknown world variant {variant!r}; choose one of {sorted(STYLES)}")
    return STYLES[variant]


def sample_arguments(program: Program, source: random.Random) -> list[Any]:
    """Small arguments that fit the program's family."""
    if program.family == "numbers":
        return [[source.randint(-6, 15) for _ in range(source.randint(3, 5))]]
    if program.family == "words":
        return [[source.choice(WORDS) for _ in range(source.randint(2, 4))]]
    if program.family == "table":
        names = source.sample(WORDS, source.randint(2, 3))
        return [{name: source.randint(-6, 15) for name in names}]
    return [source.randint(-9, 20) for _ in program.arguments]


@cache
def catalogue(variant: str) -> tuple[Program, ...]:
    """All programs of a variant, each with a meaning of its own, in a fixed order."""
    style = style_of(variant)
    kept: list[Program] = []
    meanings: set[tuple[str, str]] = set()
    keys: set[str] = set()
    for program in _combinations(style, variant):
        outputs = [program.run(arguments) for arguments in probes(program.family, variant)]
        meaning = (program.family, repr(outputs))
        if meaning not in meanings and program.key not in keys:
            meanings.add(meaning)
            keys.add(program.key)
            kept.append(program)
    return tuple(kept)


@cache
def probes(family: str, variant: str) -> tuple[list[Any], ...]:
    """Arguments on which programs of a family are told apart."""
    source = pyrandom("programs", "probes", family)
    count = 2 if family == "pair" else 1
    shape = Program(family, "", "", style_of(variant).pair[:count], (), ("", "", ""), "")
    drawn = [sample_arguments(shape, source) for _ in range(_PROBES)]
    edges: list[list[Any]] = [[number] for number in range(-6, 16)] if family == "choice" else []
    return (*drawn, *edges)


@cache
def held_out(seed: int, variant: str) -> frozenset[str]:
    """The keys of the programs that no training text may hold."""
    return frozenset(
        program.key
        for program in catalogue(variant)
        if derive("programs", "held-out", seed, variant, program.key) % 10_000
        < HELD_OUT_SHARE * 10_000
    )


@cache
def trained(seed: int, variant: str, family: str) -> tuple[Program, ...]:
    """The programs of a family that training text may hold."""
    kept_away = held_out(seed, variant)
    return tuple(p for p in catalogue(variant) if p.family == family and p.key not in kept_away)


def telling_tests(program: Program, variant: str, count: int = 6) -> list[list[Any]]:
    """Pairs [arguments, expected] that no other program of the family passes as a whole."""
    keys, outputs = _outputs(program.family, variant)
    row = keys[program.key]
    differs = outputs != outputs[row]  # rivals x probes
    rivals = np.ones(len(outputs), dtype=bool)
    rivals[row] = False
    chosen: list[int] = []
    while rivals.any() or len(chosen) < count:
        told_apart = differs[rivals].sum(0) + 1
        told_apart[chosen] = 0
        chosen.append(int(told_apart.argmax()))
        rivals &= ~differs[:, chosen[-1]]
    arguments = probes(program.family, variant)
    return [[arguments[i], program.run(arguments[i])] for i in sorted(chosen)]


@cache
def _outputs(family: str, variant: str) -> tuple[dict[str, int], np.ndarray]:
    """The row of each program, and a number for each output (programs x probes)."""
    programs = [p for p in catalogue(variant) if p.family == family]
    arguments = probes(family, variant)
    outputs = [[derive(repr(p.run(a))) for a in arguments] for p in programs]
    return {p.key: i for i, p in enumerate(programs)}, np.array(outputs, dtype=np.int64)


def _combinations(style: Style, variant: str) -> Iterator[Program]:
    """Every combination of parts as a program, fewest parts first within a family."""
    for keep, change in _optional(style.number_filters, style.number_maps):
        for fold in style.number_folds:
            yield _loop("numbers", style.numbers, style.number, keep, change, fold, variant)
    for keep, change in _optional(style.word_filters, style.word_maps):
        for fold in style.word_folds:
            if not (change and fold.result and change.result != fold.result):
                yield _loop("words", style.words, style.word, keep, change, fold, variant)
    for keep, change in _optional(style.number_filters, style.number_maps):
        for fold in style.table_folds:
            yield _loop("table", style.table, style.number, keep, change, fold, variant)
    for keep in style.number_filters:
        for one, other in product(style.number_maps[:_CHOICES], repeat=2):
            if one != other:
                yield _choice(style, keep, one, other, variant)
    for combine in style.combines:
        for change in (None, *style.number_maps[:_CHOICES]):
            yield _pair(style, combine, change, variant)


def _optional(
    filters: Sequence[Part], maps: Sequence[Part]
) -> Iterator[tuple[Part | None, Part | None]]:
    """Every filter alone, every change alone, then both together."""
    yield from ((keep, None) for keep in filters)
    yield from ((None, change) for change in maps)
    yield from product(filters, maps)


def _build(
    family: str,
    cell: str,
    name: str,
    arguments: tuple[str, ...],
    body: Sequence[str],
    docstrings: Sequence[str],
) -> Program:
    source = f"def {name}({', '.join(arguments)}):\n" + "".join(f"    {line}\n" for line in body)
    first, second, third = (text[0].upper() + text[1:] for text in docstrings)
    return Program(
        family, f"{family}:{cell}", name, arguments, tuple(body), (first, second, third),
        program_key(source),
    )  # fmt: skip


def _loop(
    family: str, things: str, x: str, keep: Part | None, change: Part | None, fold: Part,
    variant: str,
) -> Program:  # fmt: skip
    """Keep some, change each, gather: over a list or over the values of a dictionary."""
    result = change.code.format(x=x) if change else x
    test = f" if {keep.code.format(x=x)}" if keep else ""
    if family == "table":
        each = f"{{k: {result} for k, {x} in {things}.items(){test}}}"
    else:
        each = f"[{result} for {x} in {things}{test}]"
    body = [f"{things} = {each}", "return " + fold.code.format(s=things)]
    chosen = [part.word for part in (keep, change) if part]
    words = [fold.word, *chosen] if variant == "a" else [*chosen, fold.word]
    name = "_".join([things, *words] if family == "table" else words)
    nouns = things if family != "table" else ("counts" if variant == "a" else "prices")
    describe = _describe_a if variant == "a" else _describe_b
    return _build(
        family, fold.word, name, (things,), body, describe(family, nouns, keep, change, fold)
    )


def _describe_a(
    family: str, things: str, keep: Part | None, change: Part | None, fold: Part
) -> list[str]:
    kept = things if not keep else f"{keep.noun} {things}"
    kept_after = things if not keep else f"{things} that are {keep.noun}"
    if keep and family == "words":
        kept = kept_after = f"{things} {keep.noun}"
    steps = ([f"keep the {kept}"] if keep else []) + ([f"{change.verb} each"] if change else [])
    return [
        f"Return the {fold.noun} of the {kept}{f', {change.noun}' if change else ''}.",
        f"{', '.join(steps)}, then {fold.verb}.",
        f"Take the {kept_after}{f', each {change.noun},' if change else ''}"
        f" and give the {fold.noun}.",
    ]


def _describe_b(
    family: str, things: str, keep: Part | None, change: Part | None, fold: Part
) -> list[str]:
    kept = f"all {things}" if not keep else f"{keep.noun} {things}"
    if keep and family == "words":
        kept = f"{things} {keep.noun}"
    changed = f", {change.noun}" if change else ""
    return [
        f"The {fold.noun} for {kept}{changed}.",
        f"Pick {kept}{f', {change.verb} each,' if change else ''} and {fold.verb}.",
        f"With {kept}{changed}, make the {fold.noun}.",
    ]


def _choice(style: Style, keep: Part, one: Part, other: Part, variant: str) -> Program:
    """One change where a condition holds, another where it does not."""
    n = style.number
    body = [
        f"if {keep.code.format(x=n)}:",
        f"    return {one.code.format(x=n)}",
        f"return {other.code.format(x=n)}",
    ]
    if variant == "a":
        name = f"{keep.word}_{one.word}_else_{other.word}"
        docstrings = [
            f"Return {n} {one.noun} if {n} is {keep.noun}, else {other.noun}.",
            f"If {n} is {keep.noun}, {one.verb} it, else {other.verb} it.",
            f"Give {n} {one.noun} when {keep.noun} and {other.noun} otherwise.",
        ]
    else:
        name = f"{one.word}_for_{keep.word}_or_{other.word}"
        docstrings = [
            f"When {n} is {keep.noun} it comes back {one.noun}, or {other.noun}.",
            f"For {keep.noun} {n} it is {one.noun}, for the rest {other.noun}.",
            f"Any {keep.noun} {n} is {one.noun}, all others are {other.noun}.",
        ]
    return _build("choice", f"{keep.word}:{one.word}", name, (n,), body, docstrings)


def _pair(style: Style, combine: Part, change: Part | None, variant: str) -> Program:
    """Two numbers made one, then changed."""
    a, b = style.pair
    n = style.number
    body = [f"{n} = {combine.code}", f"return {change.code.format(x=n) if change else n}"]
    after = f", {change.noun}" if change else ""
    then = f", then {change.verb} it" if change else ""
    words = [combine.word, *([change.word] if change else [])]
    if variant == "a":
        name = "_".join(["pair", *words])
        docstrings = [
            f"Return the {combine.noun} of {a} and {b}{after}.",
            f"Find the {combine.noun} of {a} and {b}{then}.",
            f"Take {a} and {b} and give the {combine.noun}{after}.",
        ]
    else:
        name = "_".join(["two", *words])
        docstrings = [
            f"The {combine.noun} for {a} and {b}{after}.",
            f"With {a} and {b}, make the {combine.noun}{after}.",
            f"{combine.verb} {a} and {b}{after}.",
        ]
    return _build("pair", combine.word, name, (a, b), body, docstrings)
