"""Nodes that come from and go to ordinary Hugging Face folders and GGUF files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.files import lock, read_json
from regrow.tree import edge
from regrow.tree.fingerprint import Digests, inputs_of
from regrow.tree.recipe import RESERVED

_NEEDED = ("config.json", "tokenizer.json")
_OURS = ("checkpoints", edge.FILE, edge.GROWING, "items.jsonl.gz", ".lock")


def copy_folder(source: Path, folder: Path) -> dict[str, Any]:
    """Copy a Hugging Face folder, or what a GGUF file holds, into `folder`.

    Returns what the edge record tells. Raises RegrowError where a file or a tensor is missing or
    does not belong, weights are not safetensors, or the architecture is none that we compute.
    """
    from regrow.corpus.tokenizer import Tokenizer
    from regrow.evaluate.measure import speaks_chat
    from regrow.model.folder import check_model

    if not source.exists():
        raise RegrowError(f"there is no {source}; give a Hugging Face folder or a GGUF file")
    if source.suffix == ".gguf":
        from regrow.model.gguf import read_gguf

        read_gguf(source, folder)
        return {"imported_from": source.name, "chat": speaks_chat(folder)}
    for name in _NEEDED:
        if not (source / name).is_file():
            raise RegrowError(
                f"{source} lacks {name}; give a folder that transformers' save_pretrained wrote"
            )
    weights = sorted(source.glob("*.safetensors"))
    if not weights:
        raise RegrowError(f"{source} has no *.safetensors; save it with safe_serialization=True")
    model, tokenizer = check_model(source), Tokenizer.load(source)
    if tokenizer.vocabulary > model.vocabulary:
        raise RegrowError(
            f"{source}: the tokenizer has {tokenizer.vocabulary} entries, the model "
            f"{model.vocabulary}; these do not belong together"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for path in (*source.glob("*.json"), *source.glob("*.jinja"), *weights, source / "README.md"):
        if path.name not in _OURS and path.is_file():
            shutil.copy2(path, folder / path.name)
    return {
        "imported_from": source.name,
        "files": [path.name for path in weights],
        "chat": speaks_chat(source),
    }


def import_node(source: Path, run: Path, name: str) -> Path:
    """Put a Hugging Face folder or a GGUF file into a run as a finished node called `name`."""
    if name in RESERVED or not name.replace("-", "").replace("_", "").isalnum():
        raise RegrowError(f"{name!r} cannot be a node's name; use letters, digits and -")
    with lock(run):
        if (run / name).exists():
            raise RegrowError(f"{run / name} is there already; choose another name")
        began = edge.clock()
        partial = run / f".{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        record = copy_folder(source, partial)
        inputs = inputs_of({"stage": "import", "folder": Digests().paths([str(source)])})
        done = edge.Edge(
            name=name, stage="import", parent=None, fingerprint=inputs.fingerprint,
            inputs=inputs.values, started=began, finished=edge.clock(), seconds=0.0,
            weights=edge.weights_of(partial), versions=edge.versions(), machine=edge.machine(),
            record=record,
        )  # fmt: skip
        edge.write_edge(partial, done)
        partial.rename(run / name)
    return run / name


def export_node(folder: Path, target: Path) -> str:
    """Copy a node for others to load: its files with card and edge record, without our leavings.

    Returns a line for the user where others cannot load all of it, else "".
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RegrowError(f"{target} is there already and not empty; choose another folder")
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    ours = ("checkpoints", edge.GROWING, "items.jsonl.gz", "tasks", "tensorboard", "wandb*", ".*",
            "at", "dialogue", "supervised", "taste", "reward", "*rated.jsonl.gz")  # fmt: skip
    leave = shutil.ignore_patterns(*ours)
    try:
        shutil.copytree(folder, partial, ignore=leave)
        if target.exists():
            target.rmdir()
        partial.rename(target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RegrowError(f"cannot write {target}: {error.strerror or error}") from error
    if read_json(target / "config.json").get("model_type") == "regrow":
        return "no architecture of transformers computes this shape; only regrow loads the folder"
    return ""


def export_gguf(folder: Path, target: Path, precision: str) -> str:
    """Write a Llama-shaped node as one GGUF file; returns a line for the user, or ""."""
    from regrow.model.gguf import write_gguf

    if target.exists():
        raise RegrowError(f"{target} is there already; choose another name")
    partial = target.with_name(f".{target.name}.partial")
    try:
        said = write_gguf(folder, partial, precision)
        partial.rename(target)
    except OSError as error:
        raise RegrowError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return said
