"""What a step was made of, as flat values that can be compared, and their digest."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from regrow.errors import RegrowError
from regrow.files import read_json, sha256_file, sha256_json, write_json
from regrow.tree.recipe import Recipe

#: What differs when a key is on one side only.
ABSENT = "nothing"
#: The SHA-256 of no bytes.
_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#: What stores tell of a file that changes with its bytes, as fsspec calls it.
_TOLD = ("size", "ETag", "etag", "md5Hash", "Content-MD5", "Last-Modified")
#: Corpus settings that change how fast it is built and not what comes out.
_NO_MATTER = {"jobs": 0}
#: Settings that came later. At their defaults they are not named, so that what was grown or
#: measured before them stands as it is.
_LATER = frozenset({
    "world.leak", "world.mess", "world.trusted",
    *(f"abilities.{name}" for name in ("heldout", "on_the_way", "own", "data")),
    *(f"settings.{part}{name}" for part in ("", "tuning.") for name in ("families", "measure_at")),
})  # fmt: skip


@dataclass(frozen=True)
class Inputs:
    """What makes a step what it is: dotted key to value.

    `set_by_recipe` are the keys that the recipe states or that differ from the code's default. A
    key that an older record lacks is drift only when it is among them, so that a new version of
    regrow with one more setting leaves grown nodes as they are.
    """

    values: Mapping[str, Any]
    set_by_recipe: frozenset[str]

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits over all values."""
        return sha256_json(dict(self.values))[:16]

    def changes_from(self, old: Mapping[str, Any]) -> list[str]:
        """`key: old -> new` for every value that differs from an older record."""
        changed = []
        for key in [*self.values, *(key for key in old if key not in self.values)]:
            was, now = old.get(key, ABSENT), self.values.get(key, ABSENT)
            if was != now and (key in old or key in self.set_by_recipe):
                changed.append(f"{key}: {was} -> {now}")
        return changed


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping with dotted keys; other values as they are."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat


def inputs_of(given: Mapping[str, Any]) -> Inputs:
    """Inputs from named parts: plain values, mappings, or parts of a recipe."""
    full: dict[str, Any] = {}
    stated: set[str] = set()
    for key, part in given.items():
        if part is None:
            continue
        full |= flatten(_dump(part, everything=True), key)
        stated |= flatten(_dump(part, everything=False), key).keys()
    named = {key: value for key, value in full.items() if key not in _LATER or key in stated}
    return Inputs(named, frozenset(stated))


def _dump(part: Any, *, everything: bool) -> Any:
    if isinstance(part, BaseModel):
        return part.model_dump(mode="json", exclude_defaults=not everything)
    return part


def world_inputs(recipe: Recipe) -> Inputs:
    """What the built-in world is made of. Its raters only meet what nodes say."""
    made = inputs_of({"world": recipe.world})
    values = {key: value for key, value in made.values.items() if ".raters." not in key}
    return Inputs(values, made.set_by_recipe & values.keys())


def corpus_inputs(recipe: Recipe, world: str, digests: Digests) -> Inputs:
    """What the corpus is made of; `world` is the fingerprint of the world as it was made."""
    return inputs_of(
        {
            "world": world,
            "corpus": recipe.corpus.model_copy(update=_NO_MATTER),
            "documents": digests.paths(recipe.documents.paths) if recipe.documents else None,
            "data": real_data(recipe, digests),
            "own_abilities": own_abilities(recipe, digests),
        }
    )


def node_inputs(recipe: Recipe, name: str, parent: str | None, corpus: str,
                digests: Digests) -> Inputs:  # fmt: skip
    """What a node is made of; `parent` and `corpus` are fingerprints of what lies on disk."""
    node = recipe.nodes[name]
    given: dict[str, Any] = {"stage": node.stage, "settings": node.settings}
    if node.stage == "import":
        if not Path(node.settings.folder).exists():
            raise RegrowError(
                f"there is no {node.settings.folder} for node {name}; give a model's folder or "
                f"GGUF file: nodes.{name}.settings.folder=PATH"
            )
        return inputs_of(given | {"folder": digests.paths([node.settings.folder])})
    mixture = getattr(node.settings, "mixture", None)
    return inputs_of(
        given
        | {
            "tokens": node.tokens,
            "seed": recipe.seed,
            "model": recipe.models[node.model].inputs() if node.model else None,
            **(_mixture(recipe, mixture) if mixture else {}),
            "parent": f"{node.parent} {parent}" if node.parent else None,
            "corpus": corpus,
            **(_ratings(recipe, name, digests) if node.stage in ("feedme", "rlhf", "dpo") else {}),
        }
    )


def _ratings(recipe: Recipe, name: str, digests: Digests) -> dict[str, Any]:
    """Who rates the samples of a node: a file, or the world's raters."""
    file = recipe.data.ratings.get(name) if recipe.data else None
    if not file:
        return {"raters": recipe.world.raters}
    if not Path(file).is_file():
        raise RegrowError(f"{file} is not there; correct data.ratings.{name} in the recipe")
    return {"ratings": digests.paths([file])}


def _mixture(recipe: Recipe, name: str) -> dict[str, Any]:
    """Weights where the recipe gives them, and what else it says about the mixture."""
    spec = recipe.mixtures[name]
    said = spec.model_dump(mode="json", exclude={"weights"}, exclude_defaults=True)
    if spec.temperature is not None and recipe.documents:
        said["documents"] = recipe.documents.share
    weights = recipe.mixture(name) if spec.temperature is None else None
    return {"mixture": weights, "sampling": said or None}


def measure_inputs(recipe: Recipe, node: str, digests: Digests) -> Inputs:
    """What the scores of a node are made of; `node` is the fingerprint of the node on disk."""
    return inputs_of(
        {
            "node": node,
            "abilities": recipe.abilities,
            "seed": recipe.seed,
            "benchmarks": (real_data(recipe, digests) or {}).get("benchmarks"),
            "own_abilities": own_abilities(recipe, digests),
        }
    )


def real_data(recipe: Recipe, digests: Digests) -> dict[str, Any] | None:
    """Digests of the real data by use; None without any. Raises RegrowError for a missing path."""
    data = recipe.data
    if data is None or data.folder is None:
        return None
    if not Path(data.folder).is_dir():
        raise RegrowError(f"data.folder {data.folder} is not there; correct data.folder=PATH")
    given: dict[str, Any] = {"share": data.share}
    for use in ("instructions", "dialogues", "prompts", "comparisons", "benchmarks"):
        files = data.files(use)
        if missing := [file for file in files if not file.exists()]:
            raise RegrowError(f"{missing[0]} is not there; correct data.{use} in the recipe")
        if files:
            given[use] = digests.paths([str(file) for file in files])
    return given


def own_abilities(recipe: Recipe, digests: Digests) -> str | None:
    """A digest of the task files of one's own abilities and their rows; None without any.

    Raises RegrowError with the reason for one that breaks a rule, and for a file that is missing.
    """
    if not recipe.abilities.own:
        return None
    from regrow.evaluate.ownability import own_ability
    from regrow.evaluate.taskitems import find_file

    folder, files = Path(recipe.abilities.data), list(recipe.abilities.own)
    for name in recipe.abilities.own:
        task, _ = own_ability(name)
        files += [str(find_file(folder, file, task.name)) for file in task.files]
    return digests.paths(files)


class Digests:
    """Digests of files and folders, remembered by size and time so that they are read once.

    Of remote files it is what their store tells of them.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        self._known: dict[str, list[Any]] = {}
        if memory is not None and memory.is_file():
            self._known = read_json(memory)
        self._said: dict[tuple[str, ...], str] = {}

    def paths(self, paths: Sequence[str]) -> str:
        """One digest over the names and bytes of all files under the paths.

        Raises RegrowError for a path that is missing, unreadable or holds no file, and where all
        files are empty.
        """
        if (said := self._said.get(tuple(paths))) is None:
            before = len(self._known), list(self._known.values())
            rows = [[name, self._file(file)] for path in paths for name, file in _files(path)]
            if rows and all(digest == _EMPTY for _, digest in rows):
                raise RegrowError(f"{', '.join(paths)}: nothing but empty files; give others")
            said = self._said[tuple(paths)] = sha256_json(rows)[:16]
            if (
                self._memory
                and self._memory.parent.is_dir()
                and before != (len(self._known), list(self._known.values()))
            ):
                write_json(self._memory, self._known)
        return said

    def _file(self, path: str) -> str:
        if "://" in path:
            return _told(path)
        try:
            facts = os.stat(path)
            stamp = [facts.st_size, facts.st_mtime_ns]
            known = self._known.get(path)
            if known is None or known[:2] != stamp:
                known = self._known[path] = [*stamp, sha256_file(Path(path))]
        except OSError as error:
            raise RegrowError(
                f"cannot read {path}: {error.strerror}; mend or leave it out"
            ) from error
        return str(known[2])


def _told(url: str) -> str:
    """What its store tells of a remote file, which is not read: its size and checksum or date."""
    import fsspec

    try:
        store, path = fsspec.core.url_to_fs(url)
        facts = store.info(path)
    except Exception as error:  # each protocol has errors of its own
        raise RegrowError(f"cannot read {url}: {error}; mend or leave it out") from error
    return sha256_json([str(facts.get(key, "")) for key in _TOLD])


def _files(given: str) -> list[tuple[str, str]]:
    """(name, file) under a file, folder, pattern or URL, hidden ones left out, sorted.

    The name is relative to the path, or to the part of a pattern before its first wildcard.
    """
    path = Path(given)
    if path.is_file():
        return [(path.name, str(path))]
    if not path.exists() and ("://" in given or has_magic(given)):
        from regrow.corpus.readers.files import list_files

        return [(file.name, file.path) for file in list_files({"documents": [path]})]
    if not path.is_dir():
        raise RegrowError(f"{given} is not there; give a file or a folder of documents")
    if not os.access(path, os.R_OK | os.X_OK):
        raise RegrowError(f"cannot read the folder {given}; check its permissions")
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder) / name for name in names if not name.startswith(".")]
    if not found:
        raise RegrowError(f"{given} holds no files; give a folder with documents in it")
    return sorted((file.relative_to(path).as_posix(), str(file)) for file in found)
