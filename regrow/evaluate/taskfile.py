"""Task files: a published benchmark in a few declared lines over rows of JSON.

A task says which file it reads, how a row becomes a question, in which templates it is asked, and
how the answer is judged. Texts are Jinja templates and values Jinja expressions over the columns of
a row (regrow.evaluate.declared). docs/benchmarks.md lists the keys.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from regrow.errors import RegrowError, nearest
from regrow.evaluate.declared import expression, needs_question, read_declared, template
from regrow.evaluate.metrics import METRICS
from regrow.strict import Strict

FOLDER = Path(__file__).with_name("tasks")
_TEXTS = ("question", "head", "answer", "program")
_VALUES = ("keep", "choices", "gold", "answers", "tests", "entry", "chance", "cluster", "by")


class Join(Strict):
    """Columns of a second file, added to each row that has the same value in this column."""

    data: str
    column: str


class Shots(Strict):
    """Solved examples before a question.

    They are `rows` written in the task file, else rows of `data` (the task's own where it is
    empty) for which `keep` holds, drawn by hash; with `within`, only those that have the same value
    of this expression. A row that is shown is not asked.
    """

    count: int = Field(0, ge=0)
    rows: tuple[dict[str, Any], ...] = ()
    data: str = ""
    keep: str = ""
    within: str = ""


class Task(Strict):
    """One benchmark. What it has tells its kind: `choices`, `tests`, or else a text to write."""

    name: str
    title: str
    source: str  # paper or repository
    data: tuple[str, ...]
    join: Join | None = None
    keep: str = ""  # which rows are asked; all of them where empty
    question: str  # the bare question
    head: str = ""  # what stands before the examples
    head_shots: int = Field(0, ge=0)  # examples that the head itself holds
    templates: dict[str, str] = Field(min_length=1)  # with {{ q }}; the first is the default
    between: str = "\n\n"
    answer: str = " {{ a }}"  # what follows the template; `a`: the first right text, or choice `i`
    choices: str = ""
    gold: str = ""  # place of the right choice, or a list of places
    per: Literal["sum", "token", "byte"] = "sum"  # what a choice's log-probability is divided by
    answers: str = ""  # every text that is right
    tests: str = ""  # Python that asserts
    entry: str = ""  # the function that a program must hold
    program: str = ""  # what is run: `written` by the node, and more; that alone where empty
    extract: tuple[str, ...] = ()  # patterns that find the answer in the text, the first that does
    stop: tuple[str, ...] = ("\n",)
    max_tokens: int = Field(32, ge=1)
    metric: str
    chance: str = "0"
    cluster: str = ""
    by: str = ""
    shots: Shots = Shots(count=0)
    setting: str = ""  # how the published scores are asked
    published: tuple[str, ...] = ()  # what the table of published scores calls it

    @property
    def kind(self) -> str:
        """`choice`, `program` or `text`."""
        return "choice" if self.choices else "program" if self.tests else "text"

    @property
    def files(self) -> tuple[str, ...]:
        """All files of rows that it reads."""
        joined = (self.join.data,) if self.join else ()
        return (*self.data, *joined, *((self.shots.data,) if self.shots.data else ()))

    @model_validator(mode="after")
    def _whole(self) -> Task:
        known = METRICS[self.kind]
        if self.metric not in known:
            raise ValueError(f"metric {self.metric!r} is none of {', '.join(known)}")
        needed = {"choice": "gold", "program": "entry", "text": "answers"}[self.kind]
        if not getattr(self, needed):
            raise ValueError(f"a task with {self.kind} answers needs {needed!r}")
        needs_question(self.templates)
        for text in (*self.templates.values(), *(getattr(self, key) for key in _TEXTS)):
            template(text)  # a broken one is refused before any data are read
        for text in (*(getattr(self, k) for k in _VALUES), self.shots.keep, self.shots.within):
            if text:
                expression(text)
        for pattern in self.extract:
            if re.compile(pattern).groups != 1:
                raise ValueError(f"pattern {pattern!r} needs one group, which is the answer")
        if self.shots.rows and len(self.shots.rows) < self.shots.count:
            raise ValueError(f"shots: {self.shots.count} wanted, {len(self.shots.rows)} written")
        return self


def names() -> list[str]:
    """The tasks that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_task(name: str) -> Task:
    """A task by its name, or from the YAML file at that path.

    Raises RegrowError with the reason where the file is not there or not whole.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise RegrowError(f"there is no task {name!r}{nearest(name, names())}; see --tasks list")
    return read_declared(Task, path, "task")
