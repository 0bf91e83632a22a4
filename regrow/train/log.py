"""Metrics for TensorBoard and Weights & Biases: a mirror of the metrics.jsonl files of a folder.

The JSONL is the truth: training writes it, cuts it back on resuming, and knows nothing of its
readers. A thread here follows it, so that no writer can slow or stop training.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from regrow.errors import RegrowError

NAMES = ("tensorboard", "wandb")
_EVERY = 2.0  # seconds between two looks
_SENT = "wandb.json"


class Writer(Protocol):
    """Where the rows of one metrics.jsonl go. `last` is the last step that it already holds."""

    last: int

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the figures of a step."""

    def close(self) -> None:
        """Bring all to disk."""


class TensorBoard:
    """Event files in `folder/tensorboard`, written anew from the first step on every start."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        self._out = SummaryWriter(str(folder / "tensorboard"))
        self.last = -1

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a scalar for each figure."""
        for name, value in values.items():
            self._out.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the event file."""
        self._out.close()


class WeightsAndBiases:
    """One W&B run for a folder, gone on with after a restart; its files lie in `folder/wandb`.

    What was sent is remembered, because a run that is offline cannot be asked.
    """

    def __init__(self, folder: Path) -> None:
        import wandb

        self._memory = folder / _SENT
        known = json.loads(self._memory.read_text()) if self._memory.is_file() else {}
        self._id, self.last = known.get("id") or uuid4().hex[:16], int(known.get("last", -1))
        self._run = wandb.init(
            project="regrow", id=self._id, name="/".join(folder.resolve().parts[-2:]),
            dir=str(folder), resume="allow",
            settings=wandb.Settings(silent=True, console="off"),
        )  # fmt: skip

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log the figures of a step; remembered first, so that none is ever sent twice."""
        self._memory.write_text(json.dumps({"id": self._id, "last": step}))
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """End this part of the run."""
        self._run.finish()


_WRITERS: Mapping[str, Any] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def check(names: Sequence[str]) -> None:
    """Raise RegrowError for a name that is unknown or whose package is not installed."""
    for name in names:
        if name not in NAMES:
            raise RegrowError(f"metrics can be logged to {' or '.join(NAMES)}, not {name!r}")
        if find_spec(name) is None:
            raise RegrowError(
                f"{name} is not installed; `pip install 'regrow[{name}]'` adds it, or leave "
                f"--log-to {name} out: metrics.jsonl is written in any case"
            )


class _Followed:
    """One metrics.jsonl, how far it was read, and the writers it goes to."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path, self.at = path, 0
        self.writers: list[Writer] = [_WRITERS[name](path.parent) for name in names]

    def look(self) -> None:
        """Pass on the steps that are new since the last look."""
        with open(self.path, "rb") as file:
            if file.seek(0, 2) < self.at:  # cut back on resuming: it comes again, bit for bit
                self.at = 0
            file.seek(self.at)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        for line in data[:whole].splitlines():
            self.pass_on(json.loads(line))
        self.at += whole

    def pass_on(self, row: Mapping[str, Any]) -> None:
        """Numbers of a row to the writers that lack its step."""
        if "step" not in row or "event" in row:
            return
        values = {
            key: float(value)
            for key, value in row.items()
            if key != "step" and isinstance(value, int | float)
        }
        for writer in self.writers:
            if row["step"] > writer.last:
                writer.write(row["step"], values)
                writer.last = row["step"]


@contextlib.contextmanager
def follow(folder: Path, names: Sequence[str]) -> Iterator[None]:
    """While open, mirror every metrics.jsonl under `folder` to the writers named.

    Trouble with a writer ends the mirroring with a printed line, not the training.
    """
    if not names:
        yield
        return
    check(names)
    ended = threading.Event()
    followed: dict[Path, _Followed] = {}

    def look() -> None:
        for path in sorted(folder.rglob("metrics.jsonl")):
            if path not in followed:
                followed[path] = _Followed(path, names)
            followed[path].look()

    def work() -> None:
        try:
            while not ended.wait(_EVERY):
                look()
            look()
            for one in followed.values():
                for writer in one.writers:
                    writer.close()
        except Exception as error:
            print(f"logging to {', '.join(names)} stopped: {error}", flush=True)

    thread = threading.Thread(target=work, name="metrics")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
