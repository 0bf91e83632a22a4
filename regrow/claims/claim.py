"""What a claim is, and the ledger of all of them: short YAML files beside this one.

A claim is written before any run. It says which arms are compared, what may differ between them,
what is measured, which way it is predicted to go, and the smallest effect that would matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from regrow.errors import RegrowError, nearest
from regrow.evaluate.abilities import ABILITIES, COUNTS, LINES, Line
from regrow.strict import Strict
from regrow.tree.load import validate
from regrow.tree.settings import Share
from regrow.worlds.leaks import is_leaked

#: What a measure may be predicted to do. `none`: stay within +- what matters.
Direction = Literal["up", "down", "none", "not_up", "not_down"]
#: Names under `differ` that stand for several keys. Arms of whole recipes differ in all that makes
#: a model out of text, and cost the same compute.
WHOLE = "whole recipe"
NAMED = {WHOLE: ("node.model", "node.settings", "node.mixture")}
Statistic = Literal["contrast", "slope", "breakpoint", "sharpness", "detection", "crossover"]


class Arm(Strict):
    """A node of the claim's recipe, with changes to the recipe (`dotted.key: value`).

    `control` is the arm that it may differ from, the claim's unless it has its own (the arms of a
    2 x 2 have two). `x` places it on a scale (tasks, tokens, a share) for slopes and breaks.
    `sweep` are values of one or more keys that are tried on a seed of their own; the best on
    held-out text is used.
    """

    node: str
    control: str = ""
    set: dict[str, Any] = Field(default_factory=dict)
    x: float | None = Field(default=None, gt=0)
    sweep: dict[str, tuple[Any, ...]] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part(Line):
    """A line over the items that `world.leak` at `share` gives away, or over the other ones."""

    share: float = 0.0
    leaked: bool = True

    def takes(self, key: str) -> bool:
        """Whether an item of this key counts."""
        return is_leaked(key, self.share) == self.leaked


class OwnLine(Strict):
    """A line that the report does not have: a metric of an ability over some of its variants.

    With `leak`, over the items alone that `world.leak` gives away at this share, in whatever world
    they are asked; with `leaked: false` over the others.
    """

    ability: str
    metric: str
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    best: Literal[1, 0, -1] = 1
    leak: Share = 0.0
    leaked: bool = True

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.ability not in ABILITIES:
            raise ValueError(
                f"there is no ability {self.ability!r}{nearest(self.ability, ABILITIES)}"
            )
        metrics = ABILITIES[self.ability].metrics
        if self.metric not in metrics:
            raise ValueError(f"{self.ability} has no metric {self.metric!r}; it has "
                             + ", ".join(metrics))  # fmt: skip
        return self

    def line(self, name: str) -> Line:
        """As a line of the report."""
        unit = "count" if self.metric in COUNTS else "share"
        shape = (name, name.replace("_", " "), self.ability, self.metric, self.where, self.best,
                 unit)  # fmt: skip
        if self.leak:
            return Part(*shape, share=self.leak, leaked=self.leaked)
        return Line(*shape)


class Measure(Strict):
    """One number that arms give, and what it is predicted to be.

    `terms` weigh arms, `arm` on `line` or `arm/line` on another one: {code: 1, text: -1}. `slope`,
    `breakpoint`, `sharpness` and `crossover` take the arms in the order of their `x` instead;
    sharpness is that of the metric less that of its twin. `against` is taken off the curve: a line
    of the same arms, or `arm/line`, one arm's for all of them. A crossover is where the curve less
    `against` first rises through zero, in log2 x, less where it does so against `before`.
    `matters` is the smallest effect worth having, in the units of the measure.
    """

    name: str
    line: str = ""
    statistic: Statistic = "contrast"
    against: str = Field(default="", description="a line that is taken off")
    before: str = Field(default="", description="crossover: what is crossed first")
    terms: dict[str, float] = Field(default_factory=dict)
    predicted: Direction
    matters: float = Field(gt=0)
    twin: str = Field(default="", description="a continuous line, where the ability has no twin")
    absent_is_fine: bool = Field(default=False, description="no arm needs to have the ability")

    @property
    def taken_off(self) -> list[str]:
        """What is taken off the curve of the arms, `line` or `arm/line`."""
        return [one for one in (self.against, self.before) if one]

    @model_validator(mode="after")
    def _has_terms(self) -> Self:
        by_terms = self.statistic in ("contrast", "detection")
        if by_terms != bool(self.terms):
            of = "of terms" if by_terms else "of arms with x, not of terms"
            raise ValueError(f"{self.name}: a {self.statistic} is made {of}")
        if self.before and self.statistic != "crossover":
            raise ValueError(f"{self.name}: before belongs to a crossover")
        if self.statistic != "detection" and not (self.line or all("/" in t for t in self.terms)):
            raise ValueError(f"{self.name}: say which line is measured")
        return self


class Claim(Strict):
    """A prediction over arms and abilities.

    `compare` says how arms relate: `twins` differ from `control` in the keys `differ` alone (on
    resolved recipes, and on all forebears; `whole recipe` stands for the keys under `NAMED`);
    `edge`: they descend from `control`, and the stages between are the ingredient; `same`: one
    node, asked in several ways.
    """

    id: str = Field(pattern=r"^[A-E]\d+b?$")
    statement: str
    standing: Literal["H", "E", "G", "L", "strong H", "open", "critique", "L (disputed)"]
    prediction: str
    published: str = ""
    caveat: str = ""
    waiting: str = Field(default="", description="the part that is missing, where one is")
    recipe: str = "claims"
    compare: Literal["twins", "edge", "same"] = "twins"
    control: str = ""
    differ: tuple[str, ...] = ()
    arms: dict[str, Arm]
    lines: dict[str, OwnLine] = Field(default_factory=dict)
    measures: tuple[Measure, ...] = Field(min_length=1)
    seeds: int = Field(default=5, gt=0)

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.compare != "same" and self.control not in self.arms:
            raise ValueError(
                f"control {self.control!r} is no arm{nearest(self.control, self.arms)}"
            )
        for name, arm in self.arms.items():
            if arm.control and arm.control not in self.arms:
                raise ValueError(f"arm {name}: control {arm.control!r} is no arm")
        if self.compare == "twins" and not self.differ:
            raise ValueError("twins need `differ`: the keys in which arms may differ")
        if self.compare == "same" and len({arm.node for arm in self.arms.values()}) > 1:
            raise ValueError("compare: same is for a single node")
        for measure in self.measures:
            self._check(measure)
        return self

    def _check(self, measure: Measure) -> None:
        fixed = [one for one in (measure.against, measure.before) if "/" in one]
        for term in (*measure.terms, *fixed):
            if (arm := term.partition("/")[0]) not in self.arms:
                raise ValueError(
                    f"{measure.name}: there is no arm {arm!r}{nearest(arm, self.arms)}"
                )
        if measure.statistic not in ("contrast", "detection"):
            placed = [arm for arm in self.arms.values() if arm.x is not None]
            if len(placed) < 2:
                raise ValueError(f"{measure.name}: a {measure.statistic} needs arms with x")
        for name in self.lines_of(measure):
            self.line(name)
            if measure.twin:
                self.line(measure.twin)

    @property
    def may_differ(self) -> tuple[str, ...]:
        """The keys under `differ`, with names spelt out."""
        return tuple(key for name in self.differ for key in NAMED.get(name, (name,)))

    def lines_of(self, measure: Measure) -> list[str]:
        """The lines that a measure reads."""
        named = [term.partition("/")[2] or measure.line for term in measure.terms]
        if not named:
            named = [measure.line, *(one.rpartition("/")[2] for one in measure.taken_off)]
        return list(dict.fromkeys(name for name in named if name))

    def line(self, name: str) -> Line:
        """A line of this claim or of the report. Raises ValueError with the nearest name."""
        if name in self.lines:
            return self.lines[name].line(name)
        for line in LINES:
            if line.name == name:
                return line
        known = [*self.lines, *(line.name for line in LINES)]
        raise ValueError(f"there is no line {name!r}{nearest(name, known)}")


@cache
def ledger() -> dict[str, Claim]:
    """All claims by id, in the order of the files. Raises RegrowError that names the claim."""
    found: dict[str, Claim] = {}
    folder = files("regrow.claims") / "ledger"
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.endswith(".yaml"):
            for id, row in yaml.safe_load(path.read_text(encoding="utf-8")).items():
                found[id] = read_claim({"id": id, **row})
    return found


def read_claim(row: dict[str, Any]) -> Claim:
    """A claim from its row. Raises RegrowError with the reason for which it is refused."""
    return validate(Claim, row, f"claim {row.get('id', '?')}")


def choose(ids: Sequence[str]) -> list[Claim]:
    """The claims of these ids, all where none are given. Raises RegrowError for an unknown one."""
    known = ledger()
    for id in ids:
        if id not in known:
            raise RegrowError(f"there is no claim {id!r}{nearest(id, known)}")
    return [known[id] for id in ids] if ids else list(known.values())
