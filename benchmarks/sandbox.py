"""How many small programs a second the sandbox judges: `python benchmarks/sandbox.py [COUNT]`."""

from __future__ import annotations

import os
import sys
import time

from regrow.evaluate.sandbox import Job, Limits, run_many
from regrow.worlds.repositories import code_items


def jobs(count: int) -> list[Job]:
    """Right answers of held-out programs, each made different so that none is judged twice."""
    items = [item for item in code_items(0, "a", 200) if item.ability == "code_generation"]
    return [
        Job(
            f"round_{i} = {i}\n{item.question}{item.answers[0]}",
            item.check["entry"],
            item.check["tests"],
        )
        for i, item in zip(range(count), items * (count // len(items) + 1))
    ]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    work = jobs(count)
    for workers in (1, os.cpu_count() or 1):
        started = time.perf_counter()
        passed = sum(verdict.passed for verdict in run_many(work, workers))
        seconds = time.perf_counter() - started
        print(f"{workers} workers: {passed} of {count} passed, {count / seconds:.0f} programs/s")
    hangs = [Job("def f(n):\n    while n == 0:\n        pass\n", "f", [[[0], 0]])]
    started = time.perf_counter()
    run_many([*work[:100], *hangs, *work[100:200]], 1, Limits(seconds=1.0))
    print(f"200 programs and one that hangs: {time.perf_counter() - started:.2f} s")


if __name__ == "__main__":
    main()
