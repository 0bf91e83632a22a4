"""Checkpoints that are whole or absent, checked by SHA-256, written off the training thread."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from regrow.errors import RegrowError
from regrow.files import atomic, lock, sha256_file, write_atomic

#: Names of number formats in a safetensors file.
_FORMATS = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
_CHUNK = 1 << 24  # bytes written and hashed at a time


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was saved at a step: tensors by name and JSON values."""

    step: int
    tensors: dict[str, Tensor]
    meta: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run in a folder; for pretraining, tuning and PPO alike.

        with Checkpoints(folder) as checkpoints:   # refused where another process holds the folder
            found = checkpoints.load()
            checkpoints.save(step, tensors, meta)  # copies, and writes while training goes on

    A checkpoint is `<step>.safetensors` and then `<step>.json`, which holds the meta values and
    the digest of the first: without a whole JSON file beside it, a tensor file does not count.
    `keep` newest stay, beside them the newest that is at least `reach` steps behind the newest, and
    those at multiples of `spaced` steps (0: none). `notes` says in words what was found broken;
    broken files are set aside as `*.broken`. What the system cannot read is not broken.

    One write is under way at most. What goes wrong in it is raised by the next call, at the latest
    when the `with` ends, which waits for it.
    """

    def __init__(self, folder: Path, keep: int = 2, reach: int = 0, spaced: int = 0) -> None:
        self.folder, self.keep, self.reach, self.spaced = folder, max(1, keep), reach, spaced
        self.notes: list[str] = []
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._lock = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._lock.enter_context(lock(self.folder))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._lock:
            self._writer.shutdown()
            if kind is None:
                self.wait()

    def save(self, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Copy the tensors, and write and prune in the background.

        Raises RegrowError when the write before failed, for example on a full disk.
        """
        self.wait()
        copied = {
            name: t.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, t in tensors.items()
        }
        body = json.loads(json.dumps({"step": step, "meta": dict(meta)}))  # a copy as well
        self._writing = self._writer.submit(self._write, step, copied, body)

    def check(self) -> None:
        """Raise what went wrong in the background, without waiting."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Wait until what was saved is on disk. Raises RegrowError when it could not be written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, in order."""
        self.wait()
        return self._on_disk()

    def load(self, at_most: int | None = None) -> Checkpoint | None:
        """The newest whole checkpoint (not after `at_most`); None if there is none.

        Raises RegrowError where one cannot be read, and where all of a run's are broken: its work
        is not thrown away unasked.
        """
        for step in reversed(self.steps()):
            if at_most is not None and step > at_most:
                continue
            found = self._read(step)
            if found is not None:
                return found
        if not self.steps() and any(self.folder.glob("*.broken")):
            raise RegrowError(
                f"no checkpoint in {self.folder} is whole; put good copies of its *.broken files "
                "in their place, or delete that folder to start anew"
            )
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

    def _paths(self, step: int) -> tuple[Path, Path]:
        stem = self.folder / f"{step:08d}"
        return stem.with_suffix(".safetensors"), stem.with_suffix(".json")

    def _on_disk(self) -> list[int]:
        return sorted(int(p.stem) for p in self.folder.glob("*.json") if p.stem.isdigit())

    def _write(self, step: int, tensors: dict[str, Tensor], body: dict[str, Any]) -> None:
        weights, manifest = self._paths(step)
        manifest.unlink(missing_ok=True)  # never a new manifest's step with old tensors
        body["sha256"] = write_tensors(weights, tensors)
        body["check"] = _digest(body)
        write_atomic(manifest, json.dumps(body))
        self._prune()

    def _read(self, step: int) -> Checkpoint | None:
        from safetensors.torch import load_file

        weights, manifest = self._paths(step)
        try:
            body = json.loads(manifest.read_bytes())
            if body.pop("check") != _digest(body):
                raise ValueError("its description does not match its digest")
            if sha256_file(weights) != body["sha256"]:
                raise ValueError("its tensors do not match their digest")
            return Checkpoint(step, load_file(weights), body["meta"])
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            self.notes.append(
                f"checkpoint {weights} is broken ({error}); set aside, using an older"
            )
            for path in (manifest, weights):
                if path.exists():
                    path.replace(path.with_name(path.name + ".broken"))
            return None
        except OSError as error:
            which, why = error.filename or weights, error.strerror
            raise RegrowError(f"cannot read {which}: {why}; mend that and run again") from error

    def _remove(self, step: int) -> None:
        weights, manifest = self._paths(step)
        manifest.unlink(missing_ok=True)
        weights.unlink(missing_ok=True)

    def _prune(self) -> None:
        steps = self._on_disk()
        kept = set(steps[-self.keep :])
        kept |= set([s for s in steps if s <= steps[-1] - self.reach][-1:])
        kept |= {s for s in steps if self.spaced and s % self.spaced == 0}
        for step in steps:
            if step not in kept:
                self._remove(step)
        for path in self.folder.glob("*.safetensors"):  # tensors whose manifest never came
            if path.stem.isdigit() and int(path.stem) not in kept:
                path.unlink(missing_ok=True)
        for path in self.folder.glob(".*.partial"):
            path.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write contiguous CPU tensors as a safetensors file, atomically, and return its SHA-256.

    The library's own `save_file` first makes bytes of everything; this holds no second copy.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {}
    end = 0
    for name in order:
        t = tensors[name]
        if t.dtype not in _FORMATS:
            raise RegrowError(f"a checkpoint cannot hold {name!r} of type {t.dtype}")
        begin, end = end, end + t.numel() * t.element_size()
        header[name] = {
            "dtype": _FORMATS[t.dtype], "shape": list(t.shape), "data_offsets": [begin, end]
        }  # fmt: skip
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the format wants the data aligned
    digest = hashlib.sha256()
    with atomic(path) as file:

        def put(data: bytes | memoryview) -> None:
            digest.update(data)
            file.write(data)

        put(len(text).to_bytes(8, "little") + text)
        for name in order:
            data = tensors[name].reshape(-1).view(torch.uint8).numpy().data
            for start in range(0, len(data), _CHUNK):
                put(data[start : start + _CHUNK])
    return digest.hexdigest()


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
