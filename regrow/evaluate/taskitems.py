"""The questions of a task: rows read, joined, chosen, and put into words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, UndefinedError

from regrow.errors import RegrowError
from regrow.evaluate.declared import Row, render, value
from regrow.evaluate.taskfile import Task
from regrow.evaluate.typos import misspelt
from regrow.files import read_jsonl
from regrow.seeds import derive

#: What expressions over rows raise where a value is of another kind than the task expects.
_MISTAKES = (
    TemplateError, TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """How to ask. `shots` and `limit` None leave them to the task.

    With `deal` each item is asked in the one template that the hash of its id deals it; without it
    and `every_template` in the task's first. `typos` misspells the questions. `chat` puts the whole
    prompt into the node's chat template, as one user message. `unsafe_code` runs programs that no
    sandbox holds.
    """

    data: Path
    shots: int | None = None
    limit: int | None = None
    every_template: bool = False
    typos: bool = False
    chat: bool = False
    batch: int = 64
    precision: str = "auto"
    unsafe_code: bool = False
    deal: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """One item in one template.

    `parts` are the head, each example and the question, so that examples can be left out where a
    context is short. `choices` are the continuations to compare, `gold` the places of right ones;
    `target` is the continuation that is right and `answers` are all right texts. `tests` assert on
    a program that holds `entry`.
    """

    id: str
    template: str
    cluster: str
    cell: str
    chance: float
    parts: tuple[str, ...]
    row: Row
    shots: int
    choices: tuple[str, ...] = ()
    gold: tuple[int, ...] = ()
    target: str = ""
    answers: tuple[str, ...] = ()
    tests: str = ""
    entry: str = ""


def find_file(folder: Path, name: str, task: str) -> Path:
    """A data file in the folder, compressed or not."""
    bare = name.removesuffix(".gz")
    for path in (folder / bare, folder / f"{bare}.gz"):
        if path.is_file():
            return path
    raise RegrowError(
        f"task {task}: {folder / bare} is not there; name the folder with --data, in a recipe by "
        "abilities.data"
    )


def read_rows(task: Task, folder: Path) -> list[tuple[str, Row]]:
    """All rows with their ids, joined."""
    beside: dict[Any, Row] = {}
    if task.join:
        path = find_file(folder, task.join.data, task.name)
        beside = {_column(row, task.join.column, path): row for row in read_jsonl(path)}
    found: list[tuple[str, Row]] = []
    for name in task.data:
        path = find_file(folder, name, task.name)
        for number, row in enumerate(read_jsonl(path)):
            if task.join:
                key = _column(row, task.join.column, path)
                if key not in beside:
                    raise RegrowError(f"{path} row {number + 1}: no {key!r} in {task.join.data}")
                row = {**beside[key], **row}
            found.append((f"{task.name}|{path.name.split('.')[0]}|{number}", row))
    if not found:
        raise RegrowError(f"task {task.name}: its data are empty; give files with rows")
    return found


def _column(row: Row, name: str, path: Path) -> Any:
    if name not in row:
        raise RegrowError(f"{path} has no column {name!r}; it has {', '.join(row)}")
    return row[name]


def questions(
    task: Task,
    folder: Path,
    *,
    shots: int | None = None,
    limit: int | None = None,
    every_template: bool = False,
    deal: bool = False,
    typos: bool = False,
) -> list[Question]:
    """The questions of a task over the files in a folder.

    `shots` overrides the task's own number. At most `limit` items, chosen by the hash of their ids:
    the same for every node. `deal` and `every_template` say in which templates (TaskSettings).
    `typos` misspells the questions, not the examples. Raises RegrowError
    where a column is missing, with the columns that are there, or a value is none that the task
    can use.
    """
    count = task.shots.count if shots is None else shots
    rows = read_rows(task, folder)
    shown = _Shown(task, folder, rows, count)
    kept = [
        (id_, row)
        for id_, row in rows
        if id_ not in shown.ids and (not task.keep or _value(task, task.keep, id_, row))
    ]
    if not kept:
        raise RegrowError(f"task {task.name}: no row is left to ask; change `keep` or the shots")
    if limit is not None and limit < len(kept):
        kept = sorted(kept, key=lambda pair: derive("items", pair[0]))[:limit]
    templates = list(task.templates)

    def chosen(id_: str) -> list[str]:
        if every_template:
            return templates
        return [templates[derive("template", id_) % len(templates) if deal else 0]]

    return [
        _question(task, name, id_, row, shown, typos) for id_, row in kept for name in chosen(id_)
    ]


class _Shown:
    """The examples of a task: the same before every question of a group."""

    def __init__(
        self, task: Task, folder: Path, rows: Sequence[tuple[str, Row]], count: int
    ) -> None:
        self.task, self.count = task, count
        self.groups: dict[Any, list[tuple[str, Row]]] = {}
        self.words: dict[tuple[str, Any], tuple[str, ...]] = {}
        if task.shots.rows:
            if count > len(task.shots.rows):
                raise RegrowError(
                    f"task {task.name}: {count} shots wanted, {len(task.shots.rows)} are written"
                )
            written = enumerate(task.shots.rows[:count])
            self.groups[None] = [(f"{task.name}|shot|{n}", row) for n, row in written]
        elif count:
            if task.shots.data:
                own = task.model_copy(update={"data": (task.shots.data,)})
                rows = read_rows(own, folder)
            self._draw(rows)
        own_rows = not task.shots.data
        self.ids = {id_ for group in self.groups.values() for id_, _ in group if own_rows}

    def _draw(self, rows: Sequence[tuple[str, Row]]) -> None:
        spec = self.task.shots
        for id_, row in sorted(rows, key=lambda pair: derive("shots", pair[0])):
            if spec.keep and not _value(self.task, spec.keep, id_, row):
                continue
            group = self.groups.setdefault(self._group(id_, row), [])
            if len(group) < self.count:
                group.append((id_, row))

    def _group(self, id_: str, row: Row) -> Any:
        within = self.task.shots.within
        return _value(self.task, within, id_, row) if within else None

    def before(self, template: str, id_: str, row: Row) -> tuple[str, ...]:
        """The examples that stand before this row, in words."""
        if not self.groups:
            return ()
        group = None if self.task.shots.rows else self._group(id_, row)
        if (template, group) not in self.words:
            asked = [_asked(self.task, template, *pair) for pair in self.groups.get(group, [])]
            texts = tuple(text + target + self.task.between for text, target, _ in asked)
            self.words[template, group] = texts
        return self.words[template, group]


def _question(
    task: Task, template: str, id_: str, row: Row, shown: _Shown, typos: bool
) -> Question:
    examples = shown.before(template, id_, row)
    asked = _asked(task, template, id_, row, typos)
    head = _text(task, task.head, id_, row) if task.head else ""
    chance = _value(task, task.chance, id_, row, n=len(asked[2].get("choices", ())))
    return Question(
        id_,
        template,
        str(_value(task, task.cluster, id_, row)) if task.cluster else id_,
        str(_value(task, task.by, id_, row)) if task.by else "",
        float(chance),
        (head, *examples, asked[0]),
        row,
        len(examples) + task.head_shots,
        target=asked[1],
        **asked[2],
    )


def _asked(
    task: Task, template: str, id_: str, row: Row, typos: bool = False
) -> tuple[str, str, dict[str, Any]]:
    """The prompt of a row, the continuation that is right, and what it is judged by."""
    question = bare_question(task, id_, row)
    question = misspelt(question, id_) if typos else question
    prompt = _text(task, task.templates[template], id_, row, q=question)
    if task.kind == "choice":
        choices, gold = choices_of(task, id_, row)
        texts = tuple(
            _text(task, task.answer, id_, row, a=choice, i=place)
            for place, choice in enumerate(choices)
        )
        return prompt, texts[gold[0]], {"choices": texts, "gold": gold}
    if task.kind == "program":
        tests, entry = (str(_value(task, e, id_, row)) for e in (task.tests, task.entry))
        return prompt, _text(task, task.answer, id_, row), {"tests": tests, "entry": entry}
    answers = _value(task, task.answers, id_, row)
    answers = tuple(map(str, answers)) if isinstance(answers, list | tuple) else (str(answers),)
    if not answers or not answers[0].strip():
        raise RegrowError(f"task {task.name}: {id_} has no answer")
    return prompt, _text(task, task.answer, id_, row, a=answers[0]), {"answers": answers}


def bare_question(task: Task, id_: str, row: Row) -> str:
    """The question of a row in no template."""
    return _text(task, task.question, id_, row)


def choices_of(task: Task, id_: str, row: Row) -> tuple[list[str], tuple[int, ...]]:
    """The choices of a row and the places of the right ones."""
    given = _value(task, task.choices, id_, row)
    if not isinstance(given, list | tuple):
        raise RegrowError(f"task {task.name}: {id_} does not fit: its choices are no list")
    choices = [str(choice) for choice in given]
    found = _value(task, task.gold, id_, row)
    gold = tuple(found) if isinstance(found, list | tuple | range) else (int(found),)
    fine = len(choices) > 1 and all(choice.strip() for choice in choices) and gold
    if not (fine and all(0 <= place < len(choices) for place in gold)):
        raise RegrowError(f"task {task.name}: {id_} has no right choice among {len(choices)}")
    return choices, gold


def program_of(task: Task, question: Question, text: str) -> str:
    """The program that a written text stands for."""
    if not task.program:
        return text
    return _text(task, task.program, question.id, question.row, written=text)


def _text(task: Task, text: str, id_: str, row: Row, **more: Any) -> str:
    return str(_tried(render, task, text, id_, row, more))


def _value(task: Task, text: str, id_: str, row: Row, **more: Any) -> Any:
    return _tried(value, task, text, id_, row, more)


def _tried(fill: Any, task: Task, text: str, id_: str, row: Row, more: dict[str, Any]) -> Any:
    try:
        return fill(text, row, **more)
    except UndefinedError as error:
        raise RegrowError(
            f"task {task.name}: column missing in {id_}: {error.message}; it has {', '.join(row)}"
        ) from error
    except _MISTAKES as error:
        raise RegrowError(f"task {task.name}: {id_} does not fit {text!r}: {error}") from error
