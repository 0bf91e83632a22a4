"""The abilities that are measured, and the lines in which the report shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from regrow.errors import RegrowError

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Ability:
    """One named measurement.

    `plain` and `tuned` say in words how a base node and a chat-tuned node are asked; `twin` names
    the continuous measure beside the metric. `metrics` maps a metric to its chance level (None
    where chance has no meaning). `by` are the groups of variant keys that scores are given by,
    where the items' split is finer than that; all keys together otherwise.
    """

    name: str
    title: str
    plain: str
    tuned: str
    metrics: Mapping[str, float | None]
    twin: str = ""
    by: tuple[tuple[str, ...], ...] = ()


_LOGP = "log-probability of the gold answer, nats per token"
_SHOTS = "few-shot, plain text"
_CHAT = "zero-shot in its chat template"
_SAME = "the same plain text as a base node"
_TOLD = (
    "chat template with 'Work step by step.' or 'Give only the answer.'; few-shot plain text too"
)

ABILITIES: dict[str, Ability] = {
    ability.name: ability
    for ability in (
        Ability(
            "language_modelling", "Generation", "held-out documents", _SAME, {"bits per byte": 8.0}
        ),
        Ability(
            "knowledge",
            "Knowledge",
            _SHOTS,
            _CHAT + "; few-shot plain text too",
            {"accuracy": 0.03},
            _LOGP,
        ),
        Ability("in_context", "In-context learning", _SHOTS, _SAME, {"accuracy": 0.0}, _LOGP),
        Ability(
            "instructions",
            "Zero-shot instructions",
            "zero-shot in the plain format that was best on other items",
            _CHAT,
            {"accuracy": 0.0},
            _LOGP,
        ),
        Ability(
            "code_generation",
            "Code generation",
            "completion of signature and docstring",
            "chat template; plain completion too",
            {"pass@1": 0.0, "pass@10": 0.0},
        ),
        Ability(
            "code_understanding",
            "Code understanding",
            "completion of a doctest",
            _CHAT + "; plain completion too",
            {"accuracy": 0.0},
            _LOGP,
        ),
        Ability("chain_of_thought", "Chain of thought", _SHOTS, _TOLD, {"accuracy": 0.01}, _LOGP),
        Ability(
            "long_range", "Long range", "completion of a document", _SAME, {"accuracy": 0.01}, _LOGP
        ),
        Ability(
            "informativeness",
            "Informativeness",
            "zero-shot question, plain text",
            _CHAT,
            {"true facts": 0.0, "false facts": None, "words": None},
        ),
        Ability("balance", "Balance", "zero-shot question, plain text", _CHAT, {"both sides": 0.0}),
        Ability(
            "refusal",
            "Refusal",
            "zero-shot question, plain text",
            _CHAT,
            {"refused": 0.0},
            by=(("kind",), ("kind", "words")),
        ),
        Ability(
            "not_knowing",
            "Not knowing",
            "zero-shot question, plain text",
            _CHAT,
            {"admitted": 0.0, "right": 0.03},
            "log-probability of an admission, nats per token",
            (("kind",), ("kind", "name"), ("kind", "frequency"), ("kind", "form")),
        ),
        Ability(
            "dialogue_history",
            "Dialogue history",
            "transcript, plain text",
            "its chat template",
            {"accuracy": 0.0},
            _LOGP,
            (("turns",), ("reference",)),
        ),
        Ability(
            "robustness",
            "Robustness",
            _SHOTS + "; as it is, with slips, in capitals, with a sentence beside the point",
            _CHAT + "; in the same four ways",
            {"accuracy": 0.02},
            _LOGP,
            (("of", "noise"),),
        ),
        Ability(
            "prompting",
            "Ways of prompting",
            "problems after examples of one, two or four steps; one answer, or votes of eight",
            _SAME,
            {"accuracy": 0.01, "accuracy of long chains": 0.01},
            by=(("way",),),
        ),
        Ability(
            "tools",
            "Sums by Python",
            "problems after two worked examples, in words and as programs; totals in and out of "
            "the table of sums",
            _SAME,
            {"accuracy": 0.01, "accuracy by Python": 0.01},
            by=(("way", "totals"),),
        ),
        Ability(
            "counterfactuals",
            "Told otherwise",
            "few-shot, plain text, after a statement of the fact or of another",
            "chat template, after a statement of the fact or of another",
            {"accuracy": 0.03},
            _LOGP,
            (("statement",), ("statement", "frequency")),
        ),
        Ability(
            "memorisation",
            "Training text given back",
            "openings of training and of held-out documents",
            _SAME,
            {"verbatim": 0.0},
            "log-probability of the next 32 tokens, nats per token",
            (("seen",), ("seen", "source"), ("seen", "copies")),
        ),
        Ability(
            "benchmarks",
            "Benchmarks",
            "zero-shot question, plain text; the choice likeliest per token",
            _SAME,
            {"accuracy": None},
            _LOGP,
            (("benchmark",),),
        ),
    )
}


#: Metrics that are no shares.
COUNTS = frozenset({"bits per byte", "true facts", "false facts", "words"})


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


def _steps(first: int, last: int) -> tuple[str, ...]:
    return tuple(map(str, range(first, last + 1)))


_COT = "chain_of_thought"
LINES: tuple[Line, ...] = (
    Line(
        "text",
        "Generation, bits per byte",
        "language_modelling",
        "bits per byte",
        best=-1,
        unit="bits",
        short="text",
    ),
    Line(
        "facts_common",
        "Facts seen 100+ times",
        "knowledge",
        "accuracy",
        {"frequency": ("100+",)},
        short="facts",
    ),
    Line(
        "facts_some",
        "Facts seen 25-99 times",
        "knowledge",
        "accuracy",
        {"frequency": ("25-99",)},
    ),
    Line(
        "facts_rare",
        "Facts seen under 25 times",
        "knowledge",
        "accuracy",
        {"frequency": ("<25",)},
        short="rare facts",
    ),
    Line(
        "rules",
        "In-context rules, 8 shots",
        "in_context",
        "accuracy",
        {"kind": ("rule",), "shots": ("8",)},
        short="rules",
    ),
    Line(
        "labels",
        "In-context labels, 8 shots",
        "in_context",
        "accuracy",
        {"kind": ("label",), "shots": ("8",)},
        short="labels",
    ),
    Line(
        "instructions",
        "Instructions, trained types",
        "instructions",
        "accuracy",
        {"types": ("trained",)},
        short="tasks",
    ),
    Line(
        "unseen_tasks",
        "Instructions, held-out families",
        "instructions",
        "accuracy",
        {"types": ("held-out",)},
        short="new tasks",
    ),
    Line("code", "Code, pass@1", "code_generation", "pass@1", short="code"),
    Line("code_10", "Code, pass@10", "code_generation", "pass@10"),
    Line("reads_code", "Code understanding", "code_understanding", "accuracy", short="reads code"),
    Line(
        "cot",
        "Chain of thought, 1-4 steps",
        _COT,
        "accuracy",
        {"style": ("cot",), "steps": _steps(1, 4)},
        short="steps",
    ),
    Line(
        "cot_long",
        "Chain of thought, 5-8 steps",
        _COT,
        "accuracy",
        {"style": ("cot",), "steps": _steps(5, 8)},
    ),
    Line(
        "direct",
        "Direct answer, 2+ steps",
        _COT,
        "accuracy",
        {"style": ("direct",), "steps": _steps(2, 8)},
        short="direct",
    ),
    Line("long_range", "Long range", "long_range", "accuracy", short="far recall"),
    Line(
        "true_facts",
        "True facts per answer",
        "informativeness",
        "true facts",
        unit="count",
        short="facts told",
    ),
    Line(
        "false_facts",
        "False facts per answer",
        "informativeness",
        "false facts",
        best=-1,
        unit="count",
        short="false facts",
    ),
    Line("length", "Words per answer", "informativeness", "words", best=0, unit="count"),
    Line("balance", "Both sides told", "balance", "both sides", short="both sides"),
    Line(
        "improper",
        "Improper requests refused",
        "refusal",
        "refused",
        {"kind": ("improper",)},
        short="refuses bad",
    ),
    Line(
        "proper",
        "Proper requests refused",
        "refusal",
        "refused",
        {"kind": ("proper",)},
        best=-1,
        short="over-refuses",
    ),
    Line(
        "unknown",
        "Unknown people: admits it",
        "not_knowing",
        "admitted",
        {"kind": ("unknown",)},
        short="admits",
    ),
    Line(
        "known",
        "Known people (100+): refused",
        "not_knowing",
        "admitted",
        {"kind": ("known",), "frequency": ("100+",)},
        best=-1,
        short="over-admits",
    ),
    Line("history", "Dialogue history", "dialogue_history", "accuracy", short="history"),
    Line("benchmarks", "Published benchmarks", "benchmarks", "accuracy"),
)


def line(name: str) -> Line:
    """The line of this name."""
    return next(entry for entry in LINES if entry.name == name)


def chance(ability: str, metric: str, variant: Mapping[str, str]) -> float | None:
    """What blind guessing scores: one of two labels, one of the values of a relation, else 0."""
    if ability == "benchmarks":
        return 1 / int(variant["choices"])
    if ability == "in_context" and variant.get("kind") == "label":
        return 0.5
    return find(ability).metrics.get(metric)


def find(name: str) -> Ability:
    """The ability of this name; an unknown name is an error that lists the known ones."""
    try:
        return ABILITIES[name]
    except KeyError:
        known = ", ".join(ABILITIES)
        raise RegrowError(f"unknown ability {name!r}; choose from {known}") from None
