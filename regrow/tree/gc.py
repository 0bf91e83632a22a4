"""What a run's folder holds that no finished node needs, and freeing it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.evaluate.passage import MEASURED, kept_at
from regrow.files import lock, read_json
from regrow.tree.edge import FILE, GROWING
from regrow.tree.plan import BEFORE, MEASURE
from regrow.tree.recipe import Recipe
from regrow.tree.runs import find_run, recipe_of
from regrow.tree.worker import RECIPE

#: Models that a finished node passed through on its way; their records and metrics stay.
_ON_THE_WAY = ("supervised", "dialogue")
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Leftover:
    """A file or folder that may go: where, why, and its size in bytes."""

    path: Path
    why: str
    size: int

    def to_row(self) -> dict[str, Any]:
        """For --json."""
        return {"path": str(self.path), "why": self.why, "bytes": self.size}


def runs_to_clean(runs: Path, name: str | None) -> list[Path]:
    """The run that is named, else all runs. Raises RegrowError where there is none."""
    if name is not None:
        return [find_run(runs, name)]
    return sorted(path.parent for path in runs.glob(f"*/{RECIPE}")) or [find_run(runs)]


def leftovers(run: Path) -> list[Leftover]:
    """What can be freed of a run that is not growing, the largest first.

    Only what regrow itself leaves is known here; any other file stays, and links are not followed.
    """
    recipe = recipe_of(run)
    found: dict[Path, str] = {}
    for path, why in _candidates(run, recipe):
        inside = any(parent in found for parent in path.parents)
        if not inside and not path.is_symlink():
            found.setdefault(path, why)
    rows = [Leftover(path, why, _size(path)) for path, why in found.items()]
    return sorted(rows, key=lambda row: (-row.size, str(row.path)))


def _candidates(run: Path, recipe: Recipe) -> Iterator[tuple[Path, str]]:
    folders = [path for path in sorted(run.iterdir()) if path.is_dir() and not path.is_symlink()]
    for folder in folders:
        finished, begun = (folder / FILE).is_file(), (folder / GROWING).is_file()
        if folder.name in (*BEFORE, "report", "workers") or folder.name.startswith("."):
            continue
        if folder.name not in recipe.nodes:
            if (finished or begun) and not _imported(folder):
                yield folder, "a node that the recipe no longer has"
        elif finished:
            yield from of_finished(folder)
        elif not begun and (folder / "checkpoints").is_dir():
            yield folder, "what is left of a node that was removed"
    if (run / "corpus" / FILE).is_file():
        for name in (".corpus.work", ".corpus.old"):
            if (run / name).is_dir():
                yield run / name, "parts of a corpus that is finished"
    yield from _logs(run)
    for path in sorted(run.rglob(".*.partial")):
        if path.is_file():
            yield path, "a write that was cut off"
    for path in sorted(run.rglob("*.broken")):  # of a node that still grows it says what was lost
        if path.is_file() and not (run / path.relative_to(run).parts[0] / GROWING).is_file():
            yield path, "set aside as broken"


def of_finished(folder: Path) -> Iterator[tuple[Path, str]]:
    """What may go of a finished node, with the reason."""
    for checkpoints in sorted(folder.rglob("checkpoints")):
        if checkpoints.is_dir():
            yield checkpoints, "checkpoints of a finished node"
    for _, kept in kept_at(folder):
        if (kept / MEASURED).is_file() and (kept / _WEIGHTS).is_file():
            yield kept / _WEIGHTS, "weights on the way that are measured"
    for name in _ON_THE_WAY:
        if (folder / name / _WEIGHTS).is_file():
            yield folder / name / _WEIGHTS, "weights that a finished node passed through"


def _logs(run: Path) -> Iterator[tuple[Path, str]]:
    """Logs of the workers whose step is finished."""
    for log in sorted((run / "workers").glob("*/log.txt")):
        name = log.parent.name.removesuffix(MEASURE.replace("/", "-"))
        finished = (run / name / FILE).is_file() or not (run / name).is_dir()
        if finished and log.stat().st_size:
            yield log.parent, "the log of a finished step"


def _imported(folder: Path) -> bool:
    if not (folder / FILE).is_file():
        return False
    return bool(read_json(folder / FILE).get("stage") == "import")


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(p.lstat().st_size for p in path.rglob("*") if p.is_file() or p.is_symlink())


@contextlib.contextmanager
def held(run: Path) -> Iterator[None]:
    """Hold a run and all its workers' folders; RegrowError where something still grows in it."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock(run))
        for worker in sorted((run / "workers").glob("*/.lock")):
            stack.enter_context(lock(worker.parent))
        if (run / ".corpus.work").is_dir():
            stack.enter_context(lock(run / ".corpus.work"))
        yield


def free(found: list[Leftover], run: Path) -> int:
    """Remove leftovers; returns the bytes freed. The run must be `held`."""
    root, freed = run.resolve(), 0
    for one in found:
        if root not in one.path.resolve().parents:
            raise RegrowError(f"{one.path} is not inside {run}; nothing there is removed")
        if one.path.is_dir():
            (one.path / FILE).unlink(missing_ok=True)  # first: a half-removed folder is no node
            shutil.rmtree(one.path)
        else:
            one.path.unlink(missing_ok=True)
        freed += one.size
    return freed


def amount(size: int) -> str:
    """Bytes as people say them: 312 B, 4.1 kB, 87 MB, 1.3 GB."""
    value, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return (
        f"{value:.1f} {units[0]}" if value < 10 and units[0] != "B" else f"{value:.0f} {units[0]}"
    )
