"""What every peer's script shares: a task is read, timed and answered in one JSON file.

Called as `with_NAME.py TASK INPUT ANSWER OPTIONS`; the answer holds CPU-seconds (all threads and
child processes, imports not counted), peak memory and the task's result. Only the standard library
and pyarrow are used here, for every environment has those.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

#: A task prepares (imports, loads a vocabulary) and returns the work to be timed.
Task = Callable[..., Callable[[], Any]]


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_mb() -> float:
    """The most memory this process held; Linux's own mark, since rusage inherits the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def answer(tasks: Mapping[str, Task]) -> None:
    """Run the task that the command line names."""
    name, source, target, options = sys.argv[1:]
    work = tasks[name](Path(source), **json.loads(options))
    cpu, wall = cpu_seconds(), time.perf_counter()
    result = work()
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    row = {"cpu_s": cpu, "wall_s": wall, "peak_mb": peak_mb(), "result": result}
    Path(target).write_text(json.dumps(row))


def texts_of(source: Path) -> list[str]:
    import pyarrow.parquet as pq

    return pq.read_table(source, columns=["text"])["text"].to_pylist()


def bands_for(threshold: float, hashes: int) -> tuple[int, int]:
    """(bands, rows) as users choose them: the S-curve's middle a little under the threshold."""
    rows = max(r for r in range(1, hashes) if (r / hashes) ** (1 / r) <= threshold - 0.05)
    return hashes // rows, rows


def all_but_first(count: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """What is removed when the first text of every connected component stays."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in edges:
        a, b = sorted((root(a), root(b)))
        parent[b] = a
    return [i for i in range(count) if root(i) != i]
