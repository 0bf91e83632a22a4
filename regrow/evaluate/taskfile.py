"""Task files: a published benchmark in a few declared lines over rows of JSON.

A task says which file it reads, how a row becomes a question, in which templates it is asked, and
how the answer is judged. Texts are Jinja templates and values Jinja expressions over the columns of
a row, as in lm-evaluation-harness; nothing in them can reach beyond the row (Jinja's sandbox).
docs/benchmarks.md lists the keys.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from jinja2 import StrictUndefined, TemplateError, Undefined
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from regrow.errors import RegrowError, nearest
from regrow.evaluate.metrics import METRICS

FOLDER = Path(__file__).with_name("tasks")
Row = Mapping[str, Any]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Join(_Strict):
    """Columns of a second file, added to each row that has the same value in this column."""

    data: str
    column: str


class Shots(_Strict):
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


class Task(_Strict):
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

    @model_validator(mode="after")
    def _whole(self) -> Task:
        known = METRICS[self.kind]
        if self.metric not in known:
            raise ValueError(f"metric {self.metric!r} is none of {', '.join(known)}")
        needed = {"choice": "gold", "program": "entry", "text": "answers"}[self.kind]
        if not getattr(self, needed):
            raise ValueError(f"a task with {self.kind} answers needs {needed!r}")
        for name, text in self.templates.items():
            if not find_undeclared_variables(_environment().parse(text)):
                raise ValueError(f"template {name!r} has no {{{{ q }}}}, where the question goes")
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
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(raw, dict):
            raise RegrowError(f"task {path}: it must be a mapping of keys to values")
        task = Task.model_validate({"name": path.stem, **raw})
        _compile(task)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RegrowError(f"task {path}: not valid YAML ({error})") from error
    except ValidationError as error:
        raise RegrowError(f"task {path}: {_reason(error)}") from error
    except (TemplateError, re.error) as error:
        raise RegrowError(f"task {path}: {error}") from error
    return task


def _reason(error: ValidationError) -> str:
    """The first mistake in a line."""
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    said = {
        "missing": f"{key!r} is missing",
        "extra_forbidden": f"unknown key {key!r}{nearest(key, Task.model_fields)}",
        "too_short": f"{key!r} is empty; give at least one",
        "value_error": str(first.get("ctx", {}).get("error", "")),
    }
    return said.get(first["type"], f"{key!r}: {first['msg'].lower()}")


_TEXTS = ("question", "head", "answer", "program")
_VALUES = ("keep", "choices", "gold", "answers", "tests", "entry", "chance", "cluster", "by")


def _compile(task: Task) -> None:
    """Refuse broken templates before any data are read."""
    for text in (*task.templates.values(), *(getattr(task, key) for key in _TEXTS)):
        _template(text)
    for value in (*(getattr(task, k) for k in _VALUES), task.shots.keep, task.shots.within):
        if value:
            _expression(value)


@functools.cache
def _environment() -> ImmutableSandboxedEnvironment:
    found = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    found.filters |= {
        "sub": lambda text, pattern, new: re.sub(pattern, new, text),
        "findall": lambda text, pattern: re.findall(pattern, text),
        "letter": lambda place: "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[place],
    }
    return found


@functools.cache
def _template(text: str) -> Any:
    return _environment().from_string(text)


@functools.cache
def _expression(text: str) -> Any:
    return _environment().compile_expression(text, undefined_to_none=False)


def render(text: str, row: Row, **more: Any) -> str:
    """A template filled with a row (by column, or as `row`); raises what its expressions raise."""
    return str(_template(text).render({**row, **more, "row": row}))


def value(text: str, row: Row, **more: Any) -> Any:
    """An expression over a row."""
    found = _expression(text)({**row, **more, "row": row})
    if isinstance(found, Undefined):
        str(found)  # raises, with the name
    return found
