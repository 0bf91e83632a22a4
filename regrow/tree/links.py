"""Steps that a run has in common with another one: links to that run's folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from regrow.tree import edge


def remove(folder: Path) -> None:
    """Remove a step's folder. Of a link only the link goes, never what it leads to."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.is_dir():
        (folder / edge.FILE).unlink(missing_ok=True)  # first: a half-removed folder is no node
        shutil.rmtree(folder)


def own(folder: Path) -> None:
    """Make a linked step this run's own, so that what is written to it stays in this run.

    Its files are the same on disk (hard links) until one is written anew, beside it and renamed.
    """
    if not folder.is_symlink():
        return
    made = folder.with_name(f".{folder.name}.own")
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(
        folder, made, copy_function=_same_file, ignore=shutil.ignore_patterns(".lock", "*.partial")
    )
    folder.unlink()
    made.rename(folder)


def _same_file(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without hard links
        shutil.copy2(source, target)
