"""The edge record: what one step did, from what, and whether that still holds."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from regrow import __version__
from regrow.errors import RegrowError
from regrow.files import read_json, sha256_file, sha256_json, write_json
from regrow.tree.fingerprint import Inputs

FILE = "edge.json"
GROWING = "growing.json"


@dataclass(frozen=True)
class Edge:
    """What lies in a finished step's edge.json.

    `fingerprint` is that of the inputs it was really grown from. Inputs that were accepted later
    stand in `accepted`, with the changes; children refer to the fingerprint, so that accepting a
    change in a parent leaves them valid. `record` is what the stage told. `measured` tells of the
    scores: the inputs they were measured from, seconds, and the rows.
    """

    name: str
    stage: str
    parent: str | None
    fingerprint: str
    inputs: Mapping[str, Any]
    started: str
    finished: str
    seconds: float
    attempts: int = 1
    threads: int = 1
    weights: str | None = None  # SHA-256 of model.safetensors
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    accepted: tuple[Mapping[str, Any], ...] = ()
    measured: Mapping[str, Any] | None = None

    def changes(self, now: Inputs) -> list[str]:
        """What differs between the inputs it stands for and those of now."""
        holds = self.accepted[-1]["inputs"] if self.accepted else self.inputs
        return now.changes_from(holds)

    def accept(self, now: Inputs) -> Edge:
        """The same edge, standing for the inputs of now although it was grown from others."""
        entry = {"at": clock(), "changes": self.changes(now), "inputs": dict(now.values)}
        return replace(self, accepted=(*self.accepted, entry))


def clock() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def begun_with(folder: Path) -> Mapping[str, Any]:
    """The inputs of a step that is under way or finished; empty where it is neither."""
    for name in (FILE, GROWING):
        if (folder / name).is_file():
            with contextlib.suppress(
                RegrowError
            ):  # gone between two looks, or broken: what grows it will say so
                inputs: Mapping[str, Any] = read_json(folder / name)["inputs"]
                return inputs
    return {}


def read_edge(folder: Path) -> Edge | None:
    """The edge record of a finished step; None where there is none."""
    path = folder / FILE
    if not path.is_file():
        return None
    row = read_json(path)
    known = Edge.__dataclass_fields__
    fields = {key: value for key, value in row.items() if key in known}
    return Edge(**fields | {"accepted": tuple(fields.get("accepted", ()))})


def write_edge(folder: Path, edge: Edge) -> None:
    """Write edge.json; with it the step counts as finished."""
    write_json(folder / FILE, asdict(edge))


def weights_of(folder: Path) -> str | None:
    """The SHA-256 of a node's weights (in shards: of their digests), None where it has none."""
    digests = [sha256_file(path) for path in sorted(folder.glob("*.safetensors"))]
    return sha256_json(digests) if len(digests) > 1 else next(iter(digests), None)


def versions() -> dict[str, str]:
    """The versions of what decides the numbers."""
    found = {"regrow": __version__, "python": platform.python_version()}
    for package in ("torch", "numpy", "tokenizers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """The processor and its cores, in words."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {cores()} cores, {platform.system()}"


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
