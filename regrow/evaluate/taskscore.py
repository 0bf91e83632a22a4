"""The scores of a task: answers judged, with intervals, chance and a continuous twin."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from regrow.evaluate.metrics import GRADED, METRICS, calibration_error, extracted, judge
from regrow.evaluate.statistics import clustered_mean
from regrow.evaluate.taskfile import Task
from regrow.evaluate.taskitems import Question, TaskSettings, program_of


@dataclass(frozen=True, slots=True)
class Result:
    """A task's score in one template, or one cell of it, with its clustered 95 % interval.

    `twin` is the continuous measure beside it: the share of probability on right choices, or the
    log-probability of the right text in nats per token. `calibration_error` is that of the share of
    probability on the likeliest choice, where choices are right or wrong. `not_run` counts programs
    that were not run (and count in no score); `shortened` counts prompts that lost examples or
    their head because the context is short. `published_as` are the names in the table of published
    scores, `fingerprint` is that of the node as it was asked.
    """

    task: str
    node: str
    template: str
    cell: str
    metric: str
    n: int
    score: float
    low: float
    high: float
    clusters: int
    chance: float
    twin: float | None
    shots: int
    typos: bool
    chat: bool
    how: str
    setting: str
    published_as: tuple[str, ...] = ()
    calibration_error: float | None = None
    not_run: int = 0
    shortened: int = 0
    why_not: str = ""
    fingerprint: str = ""

    def to_row(self) -> dict[str, Any]:
        """A row of JSON; scores of no item are None."""
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class Answered:
    """A question, and what the node made of it: log-probabilities of choices, or a text."""

    question: Question
    choices: tuple[float, ...] = ()
    tokens: tuple[int, ...] = ()
    text: str = ""
    gold: float | None = None  # log-probability of the right text, nats per token
    shortened: bool = False


def results(
    task: Task, node: str, answered: Sequence[Answered], settings: TaskSettings, mark: str = ""
) -> list[Result]:
    """The scores of a task: the whole in each template, then its cells. `mark` is the fingerprint
    of the node."""
    values, why_not = judged(task, answered, settings)
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for n, one in enumerate(answered):
        groups[one.question.template, ""].append(n)
    for n, one in enumerate(answered):
        if one.question.cell:
            groups[one.question.template, one.question.cell].append(n)
    found = []
    for (template, cell), members in groups.items():
        run = [n for n in members if values[n] is not None]
        told = [answered[n] for n in members]
        sure = confidence(task, [answered[n] for n in run])
        interval = clustered_mean(
            [values[n] or 0.0 for n in run],
            [answered[n].question.cluster for n in run],
            proportion=task.metric not in GRADED,
        )
        twins = [beside for n in run if (beside := twin(task, answered[n])) is not None]
        found.append(
            Result(
                task=task.name,
                node=node,
                template=template,
                cell=cell,
                metric=task.metric,
                n=interval.n,
                score=interval.mean,
                low=interval.low,
                high=interval.high,
                clusters=interval.clusters,
                chance=float(np.mean([one.question.chance for one in told])),
                twin=float(np.mean(twins)) if twins else None,
                shots=max(one.question.shots for one in told),
                typos=settings.typos,
                chat=settings.chat,
                how=_how(task),
                setting=task.setting,
                published_as=tuple(f"{n}/{cell}" if cell else n for n in task.published),
                calibration_error=calibration_error(sure, [values[n] or 0.0 for n in run])
                if sure
                else None,
                not_run=len(members) - len(run),
                shortened=sum(one.shortened for one in told),
                why_not=why_not if len(run) < len(members) else "",
                fingerprint=mark,
            )
        )
    return found


def _how(task: Task) -> str:
    if task.kind == "choice":
        per = {"sum": "", "token": " per token", "byte": " per byte"}[task.per]
        return f"log-probability of choices{per}"
    return f"greedy, up to {task.max_tokens} tokens"


def scaled(task: Task, one: Answered) -> np.ndarray:
    """The log-probabilities by which choices are compared."""
    bytes_ = [len(choice.strip().encode()) for choice in one.question.choices]
    lengths = {"sum": 1.0, "token": np.asarray(one.tokens), "byte": np.asarray(bytes_)}
    return np.asarray(one.choices) / lengths[task.per]


def twin(task: Task, one: Answered) -> float | None:
    """The continuous measure beside the metric."""
    if task.kind != "choice":
        return one.gold
    return float(METRICS["choice"]["mass"](scaled(task, one), one.question.gold))


def confidence(task: Task, answered: Sequence[Answered]) -> list[float]:
    """The share of probability on each likeliest choice; empty where nothing is chosen."""
    if task.metric != "accuracy":
        return []
    shares = [scaled(task, one) for one in answered]
    return [1 / float(np.exp(scores - scores.max()).sum()) for scores in shares]


def judged(
    task: Task, answered: Sequence[Answered], settings: TaskSettings
) -> tuple[list[float | None], str]:
    """A value for each answer, None where a program was not run, and why it was not."""
    if task.kind == "program":
        from regrow.evaluate.checks import Check, run_checks

        checks = [
            Check(program_of(task, one.question, one.text), one.question.entry, one.question.tests)
            for one in answered
        ]
        verdicts = run_checks(checks, unsafe=settings.unsafe_code)
        missing = next((v.reason for v in verdicts if v.skipped), "")
        return [None if v.skipped else float(v.passed) for v in verdicts], missing
    if task.kind == "choice":
        metric = METRICS["choice"][task.metric]
        return [metric(scaled(task, one), one.question.gold) for one in answered], ""
    return [
        judge(task.metric, extracted(one.text, task.extract), one.question.answers)
        for one in answered
    ], ""
