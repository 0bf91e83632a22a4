"""The registry of abilities, and the lines in which the report shows them.

Each ability is a short YAML file in the folder `abilities`: where its items come from, in which
templates they are asked, what is measured, what chance gives, and the continuous twin of every
metric. A rule that a file breaks is told with the reason. docs/abilities.md lists the keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from regrow.errors import RegrowError, nearest
from regrow.evaluate.declared import expression, needs_question, read_declared, value
from regrow.strict import Strict
from regrow.worlds.wordings import WORDINGS

FOLDER = Path(__file__).with_name("abilities")
#: One format alone moves scores by tens of points (Sclar et al. 2024), so that each form in which
#: an ability is asked has at least so many.
LEAST = 3
_NONE: Mapping[str, Any] = MappingProxyType({})


class Metric(Strict):
    """What is measured of an answer, and what blind guessing gives.

    `chance` is a number, or an expression over the variant; null where it has no meaning. `twin`
    names the continuous measure beside the metric: right or wrong alone makes jumps out of smooth
    growth (Schaeffer et al. 2023). Only a metric that is `continuous` itself goes without.
    """

    chance: float | str | None
    twin: str = ""
    continuous: bool = False
    unit: Literal["share", "bits", "count"] = "share"

    @model_validator(mode="after")
    def _has_twin(self) -> Self:
        if isinstance(self.chance, str):
            expression(self.chance)
        if self.continuous and self.unit == "share":
            raise ValueError("a share of right answers is not continuous; name its twin")
        if not (self.twin or self.continuous):
            raise ValueError("it has no continuous twin; name one (twin: ...), or say continuous: "
                             "true where it counts by small steps")  # fmt: skip
        return self


class Source(Strict):
    """Where a varied ability takes its items and templates: an ability, and the splits that
    count. `called` is the value of the split `of` in the varied ability."""

    ability: str
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    called: str


class OwnLine(Strict):
    """A line of the report, as it is declared; see `Line`."""

    title: str
    metric: str
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    best: Literal[1, 0, -1] = 1
    short: str = ""


class Ability(Strict):
    """One named measurement.

    `plain` and `tuned` say in words how a base node and a chat-tuned node are asked; an empty
    `tuned`: both in the same plain text. `templates` are the formats of plain text and `turns`
    those of a tuned node's user turn, with {{ q }} for the question; items are dealt over them.
    With `wordings` the world's own wordings of the questions stand in for formats.
    `items` come from the world, from documents (which are read as they are), from benchmarks, from
    a file of rows, or `of` other abilities. `share` is the share of a cell's items that is asked,
    an expression over its split. `cluster` is the field of an item that says which items are not
    independent. `by` are the groups of variant keys that scores are given by, where the items'
    split is finer than that; all keys together otherwise.
    """

    name: str
    title: str
    place: int = 1000  # in tables
    items: Literal["world", "documents", "benchmarks", "file"] = "world"
    of: tuple[Source, ...] = ()
    plain: str
    tuned: str = ""
    templates: dict[str, str] = Field(default_factory=dict)
    turns: dict[str, str] = Field(default_factory=dict)
    wordings: bool = False
    answer: str = " {{ a }}\n"  # what follows a template in a solved example
    between: str = ""
    stop: tuple[str, ...] = ("\n",)
    shots: int = Field(default=0, ge=0)
    share: str = "1"
    metrics: dict[str, Metric] = Field(min_length=1)
    cluster: Literal["family", "id"]
    by: tuple[tuple[str, ...], ...] = ()
    lines: dict[str, OwnLine] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_asked_in_several_ways(self) -> Self:
        needs_question(self.templates)
        needs_question(self.turns)
        if self.of or self.items == "documents":
            if self.templates or self.turns:
                raise ValueError("templates are of abilities that ask items of their own")
            return self
        forms = {"templates": self.templates}
        if self.tuned and self.items == "world":
            forms["turns"] = self.turns
        for key, given in forms.items():
            if (count := max(len(given), self._worded())) < LEAST:
                raise ValueError(f"{key!r} has {count}; give at least {LEAST}, since a single "
                                 "format moves scores by tens of points")  # fmt: skip
        return self

    def _worded(self) -> int:
        """In how many wordings every world variant puts the questions."""
        if not self.wordings:
            return 0
        if self.name not in WORDINGS:
            raise ValueError(f"the world has no wordings of {self.name}")
        return min(len(WORDINGS[self.name](variant)) for variant in "ab")

    @model_validator(mode="after")
    def _lines_are_measured(self) -> Self:
        for name, line in self.lines.items():
            if line.metric not in self.metrics:
                raise ValueError(f"line {name}: there is no metric {line.metric!r}"
                                 f"{nearest(line.metric, self.metrics)}")  # fmt: skip
        return self

    @property
    def as_tuned(self) -> str:
        """How a tuned node is asked, in words."""
        return self.tuned or "the same plain text as a base node"

    @property
    def report_lines(self) -> tuple[Line, ...]:
        """Its rows of the heat map."""
        return tuple(
            Line(name, own.title, self.name, own.metric, own.where, own.best,
                 self.metrics[own.metric].unit, own.short)
            for name, own in self.lines.items()
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the heat map: a metric of an ability over some of its variants.

    `where` maps a variant key to the values that count; `name` stands for the line in bars and
    in abilities.json. `best` is +1 where more is better, -1 where less is, 0 where neither.
    """

    name: str
    title: str
    ability: str
    metric: str
    where: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NONE)
    best: int = 1
    unit: str = "share"  # share, bits or count
    short: str = ""  # a word or two for a drawing; empty where the drawing leaves it out

    def holds(self, ability: str, metric: str, variant: Mapping[str, str]) -> bool:
        """Whether an outcome counts in this line; variants asked in a second form do not."""
        return (
            ability == self.ability
            and metric == self.metric
            and "asked" not in variant
            and all(variant.get(key) in values for key, values in self.where.items())
        )

    @property
    def variant(self) -> dict[str, str]:
        """The variant under which the line is written to scores: joined values or a range."""
        return {key: span(values) for key, values in self.where.items()}


def span(values: tuple[str, ...]) -> str:
    """`3` for one value, `1-4` for consecutive numbers, else the values joined by `+`."""
    if len(values) > 1 and all(value.isdigit() for value in values):
        numbers = sorted(map(int, values))
        if numbers == list(range(numbers[0], numbers[-1] + 1)):
            return f"{numbers[0]}-{numbers[-1]}"
    return "+".join(values)


def _registry() -> dict[str, Ability]:
    found = [read_declared(Ability, path, "ability") for path in FOLDER.glob("*.yaml")]
    return {one.name: one for one in sorted(found, key=lambda one: one.place)}


ABILITIES: Mapping[str, Ability] = MappingProxyType(_registry())
#: Metrics that are no shares.
COUNTS = frozenset(
    name
    for ability in ABILITIES.values()
    for name, metric in ability.metrics.items()
    if metric.unit != "share"
)


def abilities_of(measured: Iterable[Mapping[str, Any]]) -> dict[str, Ability]:
    """The registry, and the abilities of one's own in what nodes were measured by."""
    own = {name: row for one in measured for name, row in one.get("own", {}).items()}
    return {**ABILITIES, **{name: Ability.model_validate(row) for name, row in own.items()}}


def lines_of(abilities: Mapping[str, Ability]) -> tuple[Line, ...]:
    """The lines of all these abilities, in their order."""
    return tuple(line for ability in abilities.values() for line in ability.report_lines)


LINES = lines_of(ABILITIES)


def line(name: str) -> Line:
    """The line of this name."""
    return next(entry for entry in LINES if entry.name == name)


def chance(ability: str, metric: str, variant: Mapping[str, str]) -> float | None:
    """What blind guessing scores; None where that has no meaning, or an ability is not known."""
    known = ABILITIES.get(ability)
    level = known.metrics[metric].chance if known and metric in known.metrics else None
    return float(value(level, variant)) if isinstance(level, str) else level


def find(name: str) -> Ability:
    """The ability of this name; an unknown name is an error that lists the known ones."""
    try:
        return ABILITIES[name]
    except KeyError:
        known = ", ".join(ABILITIES)
        raise RegrowError(f"unknown ability {name!r}; choose from {known}") from None
