"""Checkpoints that are whole or absent, checked by SHA-256, and pruned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from regrow.files import write_atomic


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was saved at a step: tensors by name and JSON values."""

    step: int
    tensors: dict[str, Tensor]
    meta: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run in a folder; for pretraining, tuning and PPO alike.

    A checkpoint is `<step>.safetensors` and then `<step>.json`, which holds the meta values and
    the digest of the first: without a whole JSON file beside it, a tensor file does not count.
    `keep` newest stay, and beside them the newest that is at least `reach` steps behind the newest.
    `notes` says in words what was found broken; broken files are set aside as `*.broken`.
    """

    def __init__(self, folder: Path, keep: int = 2, reach: int = 0) -> None:
        self.folder, self.keep, self.reach = folder, max(1, keep), reach
        self.notes: list[str] = []

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, in order."""
        return sorted(int(p.stem) for p in self.folder.glob("*.json") if p.stem.isdigit())

    def _paths(self, step: int) -> tuple[Path, Path]:
        stem = self.folder / f"{step:08d}"
        return stem.with_suffix(".safetensors"), stem.with_suffix(".json")

    def save(self, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Write a checkpoint atomically, then prune. Raises RegrowError on a full disk."""
        from safetensors.torch import save

        data = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
        body = {"step": step, "sha256": hashlib.sha256(data).hexdigest(), "meta": dict(meta)}
        body["check"] = _digest(body)
        weights, manifest = self._paths(step)
        manifest.unlink(missing_ok=True)  # never a new manifest's step with old tensors
        write_atomic(weights, data)
        write_atomic(manifest, json.dumps(body))
        self._prune()

    def load(self, at_most: int | None = None) -> Checkpoint | None:
        """The newest whole checkpoint (not after `at_most`); None if there is none."""
        for step in reversed(self.steps()):
            if at_most is not None and step > at_most:
                continue
            found = self._read(step)
            if found is not None:
                return found
        return None

    def _read(self, step: int) -> Checkpoint | None:
        from safetensors.torch import load

        weights, manifest = self._paths(step)
        try:
            body = json.loads(manifest.read_bytes())
            data = weights.read_bytes()
            if body.pop("check") != _digest(body):
                raise ValueError("its description does not match its digest")
            if hashlib.sha256(data).hexdigest() != body["sha256"]:
                raise ValueError("its tensors do not match their digest")
            return Checkpoint(step, load(data), body["meta"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.notes.append(
                f"checkpoint {weights} is broken ({error}); set aside, using an older"
            )
            for path in (manifest, weights):
                if path.exists():
                    path.replace(path.with_name(path.name + ".broken"))
            return None

    def discard_after(self, step: int) -> None:
        """Remove checkpoints of later steps, which a rewind made void."""
        for later in self.steps():
            if later > step:
                self._remove(later)

    def clear(self) -> None:
        """Remove all checkpoints."""
        for step in self.steps():
            self._remove(step)

    def _remove(self, step: int) -> None:
        weights, manifest = self._paths(step)
        manifest.unlink(missing_ok=True)
        weights.unlink(missing_ok=True)

    def _prune(self) -> None:
        steps = self.steps()
        kept = set(steps[-self.keep :])
        kept |= set([s for s in steps if s <= steps[-1] - self.reach][-1:])
        for step in steps:
            if step not in kept:
                self._remove(step)
        for path in self.folder.glob("*.safetensors"):  # tensors whose manifest never came
            if path.stem.isdigit() and int(path.stem) not in kept:
                path.unlink(missing_ok=True)
        for path in self.folder.glob(".*.partial"):
            path.unlink(missing_ok=True)


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
