"""`regrow corpus build`: from the words on the command line to a finished corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regrow.corpus.settings import STAGES, CorpusSettings
from regrow.errors import RegrowError
from regrow.tree.load import apply_override, merge, read_yaml, validate
from regrow.tree.measure import shown

DOCUMENTS = "documents"
VOCABULARY = 8192


@dataclass(frozen=True)
class Request:
    """What was asked for. `options` are settings that have an option of their own, None unset."""

    output: Path
    words: Sequence[str] = ()  # paths of documents, key=value
    inputs: Sequence[str] = ()  # paths, or name=path
    recipe: Path | None = None
    items: Sequence[Path] = ()
    reference: Sequence[Path] = ()
    options: Mapping[str, Any] | None = None


def build_corpus(request: Request) -> dict[str, Any]:
    """Clean the documents that were named; returns the corpus report."""
    from regrow.corpus.build import build
    from regrow.corpus.items import read_items

    output = request.output
    finished = (output / "checksums.json").is_file()
    if output.exists() and not finished and (not output.is_dir() or any(output.iterdir())):
        raise RegrowError(f"{output} is there already and not empty; choose another folder")
    paths = [word for word in request.words if not _is_setting(word)]
    _refuse_items(paths, request.items)
    inputs = parse_inputs([*paths, *request.inputs])
    settings = load_settings(request, tuple(inputs))
    items = read_items(request.items)
    with shown("corpus") as say:

        def progress(done: float, total: float, **metrics: Any) -> None:
            say({"done": done, "total": total, "metrics": metrics})

        return build(
            inputs, output, settings, items=items, reference=request.reference,
            progress=progress, replace=False,
        )  # fmt: skip


def _is_setting(word: str) -> bool:
    key, equals, _ = word.partition("=")
    return bool(equals) and "/" not in key and not Path(word).exists()


def _refuse_items(paths: Sequence[str], items: Sequence[Path]) -> None:
    """An unquoted pattern after --decontaminate leaves all but its first file to the documents."""
    folders = {path.resolve().parent for path in items if path.is_file()}
    for path in paths:
        if Path(path).resolve().parent in folders and Path(path).is_file():
            raise RegrowError(
                f"{path} lies beside the items of --decontaminate and would be trained on; quote "
                f"the pattern, or name it with --input if it is a document"
            )


def parse_inputs(words: Sequence[str]) -> dict[str, list[Path]]:
    """Paths by source: `name=path` gives the source its name, a plain path is of `documents`."""
    inputs: dict[str, list[Path]] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or "/" in name or Path(word).exists():
            name, path = DOCUMENTS, word
        if not name or not path:
            raise RegrowError(f"{word!r} is no input; write PATH or name=PATH")
        inputs.setdefault(name, []).append(Path(path).expanduser())
    if not inputs:
        raise RegrowError("no documents are given; name some, as in --input web=crawl.warc.gz")
    return inputs


def load_settings(request: Request, sources: Sequence[str]) -> CorpusSettings:
    """Defaults, under the recipe, under key=value, under options of their own."""
    name = str(request.recipe or "corpus")
    raw: dict[str, Any] = {"tokenizer": {"vocabulary": VOCABULARY}}
    if request.recipe is not None:
        own = read_yaml(request.recipe)
        own = own.get("corpus") or {} if "nodes" in own or "corpus" in own else own
        if not isinstance(own, dict):
            raise RegrowError(f"{name}: corpus must be a mapping of settings")
        raw = merge(raw, own)
    for word in request.words:
        if _is_setting(word):
            apply_override(raw, word)
    validate(CorpusSettings, raw, name)  # what follows relies on its types
    given = {key: value for key, value in (request.options or {}).items() if value is not None}
    vocabulary = given.pop("vocabulary", None)
    if given.pop("mask_pii", False):
        stages = [s for s in raw.get("stages", STAGES) if s != "personal data"]
        at = stages.index("rules") + 1 if "rules" in stages else 0
        given["stages"] = [*stages[:at], "personal data", *stages[at:]]
    if vocabulary is not None:
        given["tokenizer"] = {"vocabulary": vocabulary}
    raw = merge(raw, given)
    if request.reference and not (raw.get("quality") or {}).get("sources"):
        raw = merge(raw, {"quality": {"sources": list(sources)}})
    return validate(CorpusSettings, raw, name)
