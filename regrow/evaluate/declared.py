"""What files of declarations share: strict keys, reasons in one line, texts and values over rows.

Texts are Jinja templates and values Jinja expressions over the columns of a row, as in
lm-evaluation-harness; nothing in them can reach beyond the row (Jinja's sandbox).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jinja2 import StrictUndefined, TemplateError, Undefined
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ValidationError

from regrow.errors import RegrowError, nearest
from regrow.strict import Strict

Row = Mapping[str, Any]


Model = TypeVar("Model", bound=Strict)


def read_declared(kind: type[Model], path: Path, what: str) -> Model:
    """The declaration in a YAML file, called by the file. Raises RegrowError with the reason."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RegrowError(f"{what} {path}: not valid YAML ({error})") from error
    if not isinstance(raw, dict):
        raise RegrowError(f"{what} {path}: it must be a mapping of keys to values")
    return declare(kind, {"name": path.stem, **raw}, f"{what} {path}")


def declare(kind: type[Model], raw: Mapping[str, Any], what: str) -> Model:
    """The declaration of these keys and values. Raises RegrowError with the first reason."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise RegrowError(f"{what}: {_reason(error, kind)}") from error
    except (TemplateError, re.error) as error:
        raise RegrowError(f"{what}: {error}") from error


def _reason(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first mistake in a line."""
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    own = f"{key}: " if key else ""
    said = {
        "missing": f"{key!r} is missing",
        "extra_forbidden": f"unknown key {key!r}{nearest(key, kind.model_fields)}",
        "too_short": f"{key!r} is empty; give at least one",
        "value_error": own + str(first.get("ctx", {}).get("error", "")),
    }
    return said.get(first["type"], f"{key!r}: {first['msg'].lower()}")


def needs_question(templates: Mapping[str, str]) -> None:
    """Raise ValueError for a template in which nothing is filled in."""
    for name, text in templates.items():
        if not find_undeclared_variables(_environment().parse(text)):
            raise ValueError(f"template {name!r} has no {{{{ q }}}}, where the question goes")


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
def template(text: str) -> Any:
    """The compiled template; raises TemplateError where it is broken."""
    return _environment().from_string(text)


@functools.cache
def expression(text: str) -> Any:
    """The compiled expression; raises TemplateError where it is broken."""
    return _environment().compile_expression(text, undefined_to_none=False)


def render(text: str, row: Row, **more: Any) -> str:
    """A template filled with a row (by column, or as `row`); raises what its expressions raise."""
    return str(template(text).render({**row, **more, "row": row}))


def value(text: str, row: Row, **more: Any) -> Any:
    """An expression over a row."""
    found = expression(text)({**row, **more, "row": row})
    if isinstance(found, Undefined):
        str(found)  # raises, with the name
    return found
