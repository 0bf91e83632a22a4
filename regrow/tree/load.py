"""Reading a recipe: the file, what it extends, overrides, and errors that name the fix."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

import regrow
from regrow.errors import RegrowError
from regrow.tree.graph import nearest
from regrow.tree.recipe import Recipe

Model = typing.TypeVar("Model", bound=BaseModel)


def load_recipe(name: str, overrides: Sequence[str] = (), documents: Sequence[str] = ()) -> Recipe:
    """The recipe called `name` (or the YAML file at that path) with `key=value` overrides applied.

    `documents` are paths that replace the recipe's own. Raises RegrowError with one line that
    says which key is wrong and what would be right.
    """
    raw = read_yaml(find_recipe(name))
    own = raw.get("documents") or {}
    if documents and isinstance(own, dict):
        raw["documents"] = own | {"paths": list(documents)}
    for override in overrides:
        apply_override(raw, override)
    return validate(Recipe, _absolute(raw), f"recipe {name}")


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or a name in ./recipes or among those that come with regrow."""
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise RegrowError(f"recipe file {name} is not there")
        return Path(name)
    for folder in _folders():
        if (path := folder / f"{name}.yaml").is_file():
            return path
    raise RegrowError(f"there is no recipe {name!r}{nearest(name, recipe_names())}")


def recipe_names() -> list[str]:
    """The names of the recipes at hand."""
    return sorted({path.stem for folder in _folders() for path in folder.glob("*.yaml")})


def _folders() -> list[Path]:
    return [Path("recipes"), Path(regrow.__file__).parent / "recipes"]


def read_yaml(path: Path, extending: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The mapping in a YAML file, laid over what it extends."""
    if path.resolve() in extending:
        raise RegrowError(f"{path} extends itself; remove one `extends`")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RegrowError(f"cannot read recipe {path}: {error}") from error
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f" line {place.line + 1}" if place else ""
        what = getattr(error, "problem", None) or "not valid YAML"
        raise RegrowError(f"recipe {path}{line}: {what}") from error
    if not isinstance(raw, dict):
        raise RegrowError(f"recipe {path} must be a mapping of keys to values")
    base = raw.pop("extends", None)
    if base is None:
        return raw
    beside = path.parent / f"{base}.yaml"
    base_path = beside if beside.is_file() else find_recipe(str(base))
    return merge(read_yaml(base_path, (*extending, path.resolve())), raw)


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it: mappings merge, anything else replaces, null removes."""
    merged = dict(base)
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set what a `dotted.key=value` says."""
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise RegrowError(f"{override!r} is no setting; write key=value, as in world.people=100")
    try:
        value = yaml.safe_load(text) if text.strip() else ""
    except yaml.YAMLError as error:
        raise RegrowError(f"{override!r}: the value is not valid YAML") from error
    place = raw
    for depth, key in enumerate(keys[:-1]):
        named = depth == 1 and keys[0] in ("nodes", "models", "mixtures")
        if key not in place and named:
            raise RegrowError(f"{override!r}: no {keys[0][:-1]} {key!r}{nearest(key, place)}")
        if not isinstance(place.get(key), dict):
            place[key] = {}
        place = place[key]
    place[keys[-1]] = value


def _absolute(raw: dict[str, Any]) -> dict[str, Any]:
    """The recipe with its paths made absolute, so that it means the same from any folder."""

    def full(path: Any) -> Any:
        if not isinstance(path, str) or "://" in path:
            return path
        return str(Path(path).expanduser().resolve())

    def all_full(paths: Any) -> Any:
        if isinstance(paths, dict):
            return {name: full(path) for name, path in paths.items()}
        return [full(path) for path in paths] if isinstance(paths, list) else full(paths)

    if isinstance(documents := raw.get("documents"), dict):
        paths = documents.get("paths")
        documents["paths"] = all_full([paths] if isinstance(paths, str) else paths)
    for part, keys in (("data", ("folder", "ratings")), ("abilities", ("data",))):
        if isinstance(held := raw.get(part), dict):
            held |= {key: all_full(held[key]) for key in keys if key in held}
    abilities = raw.get("abilities")
    if isinstance(abilities, dict) and isinstance(own := abilities.get("own"), list):
        files = (".yaml", ".yml")  # anything else is the name of a published task
        abilities["own"] = [full(name) if str(name).endswith(files) else name for name in own]
    nodes = raw.get("nodes")
    for node in nodes.values() if isinstance(nodes, dict) else ():
        settings = node.get("settings") if isinstance(node, dict) else None
        if isinstance(settings, dict) and "folder" in settings:
            settings["folder"] = full(settings["folder"])
    return raw


def validate(kind: type[Model], raw: Mapping[str, Any], name: str) -> Model:
    """The typed value of a mapping. Raises RegrowError with one line that names the key."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        first, *rest = error.errors(include_url=False)
        more = f" (and {len(rest)} more)" if rest else ""
        raise RegrowError(f"{name}: {_explain(kind, first)}{more}") from error


def _explain(root: type[BaseModel], error: Mapping[str, Any]) -> str:
    kind, place = error["type"], _readable(error["loc"])
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        siblings = _fields(_type_at(root, error["loc"][:-1]))
        return f"unknown key {place!r}{nearest(str(error['loc'][-1]), siblings)}"
    if place == "documents.paths":
        return "it grows on your documents; name them with --documents PATH"
    if kind in ("missing", "missing_argument"):
        return f"{place!r} is missing"
    if kind == "value_error":
        return (f"{place}: " if place else "") + str(error["ctx"]["error"])
    if kind == "literal_error":
        choices = re.findall(r"'([^']+)'", error["ctx"]["expected"])
        return f"{place!r} is {error['input']!r}{nearest(str(error['input']), choices)}"
    if kind == "union_tag_not_found":
        return f"{place!r} needs a stage"
    if kind == "union_tag_invalid":
        return f"{place}.stage: {error['ctx']['tag']!r} is none of {error['ctx']['expected_tags']}"
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"{place!r}: {message} (got {error['input']!r})"


def _readable(place: Iterable[str | int]) -> str:
    """A location as the user writes it: dotted, without pydantic's own marks."""
    keys = [str(key) for key in place]
    if keys[:1] == ["nodes"] and len(keys) > 3:
        del keys[2]  # the stage, which tells the union's members apart
    return ".".join(key for key in keys if key != "[key]")


def _type_at(root: type[BaseModel], place: Sequence[str | int]) -> Any:
    """The type that a settings model has at a location."""
    found: Any = root
    for key in place:
        found = _step(found, str(key))
    return found


def _step(kind: Any, key: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(key)
        return field.annotation if field else None
    if typing.get_origin(kind) is dict:
        return typing.get_args(kind)[1]
    for member in _members(kind):
        if key in _fields(member):
            return _step(member, key)
        stage = getattr(member, "model_fields", {}).get("stage")
        if stage and key in typing.get_args(stage.annotation):
            return member
    return None


def _members(kind: Any) -> list[Any]:
    """The alternatives of a union, through Annotated; none for other types."""
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    return [member for member in typing.get_args(kind) if isinstance(member, type)]


def _fields(kind: Any) -> list[str]:
    if isinstance(kind, type):
        for table in ("model_fields", "__dataclass_fields__"):
            if names := getattr(kind, table, None):
                return list(names)
    for member in _members(kind):
        if names := _fields(member):
            return names
    return []
