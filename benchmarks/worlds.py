"""How fast the built-in world is made: MB of clean text per CPU-second, by source and in all.

Run: python -m benchmarks.worlds [megabytes]   (default 6; the laptop world is 29)
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from regrow.worlds.macondo import DEFAULT_CHARACTERS, write_world


def measure(megabytes: float) -> list[tuple[str, float, float, float]]:
    """Rows of (source, MB, CPU-seconds, seconds); one process, so that CPU time is all of it."""
    scale = megabytes * 1e6 / sum(DEFAULT_CHARACTERS.values())
    sizes = {source: int(size * scale) for source, size in DEFAULT_CHARACTERS.items()}
    marks = [(time.process_time(), time.perf_counter())]
    rows: list[tuple[str, float, float, float]] = []

    def progress(done: float, total: float, phase: str = "") -> None:
        if done == 0:
            return
        marks.append((time.process_time(), time.perf_counter()))
        (cpu0, wall0), (cpu1, wall1) = marks[-2:]
        rows.append((phase, sizes[phase] / 1e6, cpu1 - cpu0, wall1 - wall0))

    with tempfile.TemporaryDirectory() as folder:
        write_world(Path(folder), seed=0, characters=sizes, processes=1, progress=progress)
    cpu, wall = time.process_time() - marks[0][0], time.perf_counter() - marks[0][1]
    return [*rows, ("all", megabytes, cpu, wall)]


def main() -> None:
    """Print the table; 'town' includes the items, 'all' the rows for tuning too."""
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 6.0
    print(f"{'source':10} {'MB':>6} {'CPU s':>7} {'wall s':>7} {'MB/CPU s':>9}")
    for source, size, cpu, wall in measure(megabytes):
        print(f"{source:10} {size:6.1f} {cpu:7.1f} {wall:7.1f} {size / cpu:9.2f}")


if __name__ == "__main__":
    main()
