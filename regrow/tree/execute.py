"""Growing what is missing: worker processes side by side, in the order that ends soonest."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.files import read_json
from regrow.tree import edge, schedule
from regrow.tree.live import Board, Display
from regrow.tree.plan import BEFORE, Step

_PATIENCE = 10.0  # seconds that workers get to end before they are killed


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen[str]
    threads: int
    step: str | None = None  # what it is doing


@dataclass
class Execution:
    """One run over the steps that are not done, `jobs` workers at a time.

    Raises RegrowError with the failing step's line; other workers are stopped then and go on from
    their checkpoints at the next run. KeyboardInterrupt stops them in the same way.
    """

    run: Path
    steps: Sequence[Step]
    jobs: int
    seconds: Mapping[str, float]
    display: Display
    _workers: list[_Worker] = field(default_factory=list)
    _messages: queue.Queue[tuple[_Worker, dict[str, Any]]] = field(default_factory=queue.Queue)

    def __call__(self) -> None:
        """Do the steps; returns when all are done."""
        board = Board(self.steps, self.seconds, self.jobs)
        done = {step.name for step in self.steps if step.state == "done"}
        tail = schedule.tails(self.steps, self.seconds)
        self.display.start(board)
        try:
            while len(done) < len(self.steps):
                self._start_ready(board, done, tail)
                done.update(self._listen(board))
                self.display.show(board)
        finally:
            self._stop(self._workers)
            self.display.stop(board)

    def _start_ready(self, board: Board, done: set[str], tail: Mapping[str, float]) -> None:
        while len(busy := {worker.step for worker in self._workers if worker.step}) < self.jobs:
            candidates = schedule.ready(self.steps, done, busy)
            if not candidates:
                return
            name = schedule.choose(candidates, tail)
            worker = self._worker(threads_of(self.run, name, self.jobs))
            worker.step = name
            board.begin(name)
            with contextlib.suppress(BrokenPipeError):  # its end is heard in `_listen`
                assert worker.process.stdin is not None
                print(name, file=worker.process.stdin, flush=True)

    def _worker(self, threads: int) -> _Worker:
        """An idle worker with so many threads; idle ones with another number are let go."""
        idle = [worker for worker in self._workers if not worker.step]
        for worker in idle:
            if worker.threads == threads:
                return worker
        self._stop(idle)
        process = subprocess.Popen(
            [sys.executable, "-m", "regrow.tree.worker", str(self.run)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that Ctrl-C reaches this process only
            env=os.environ | environment(threads),
        )
        worker = _Worker(process, threads)
        self._workers.append(worker)
        threading.Thread(target=self._hear, args=(worker,), daemon=True).start()
        return worker

    def _hear(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            with contextlib.suppress(json.JSONDecodeError):
                self._messages.put((worker, json.loads(line)))
        self._messages.put((worker, {"exit": worker.process.wait()}))

    def _listen(self, board: Board) -> list[str]:
        """Take in what workers have said; returns the steps that have finished."""
        finished = []
        with contextlib.suppress(queue.Empty):
            worker, message = self._messages.get(timeout=0.25)
            while True:
                name = worker.step
                if name and "done" in message:
                    board.progress(name, message["done"], message["total"], message["metrics"])
                elif name and "finished" in message:
                    board.finish(name, message["finished"])
                    finished.append(name)
                    worker.step = None
                elif name:
                    raise RegrowError(self._trouble(name, message))
                elif "exit" in message and worker in self._workers:
                    self._workers.remove(worker)
                worker, message = self._messages.get_nowait()
        return finished

    def _trouble(self, name: str, message: Mapping[str, Any]) -> str:
        log = self.run / "workers" / name.replace("/", "-") / "log.txt"
        if "error" in message:
            return f"{name}: {message['error']} (log: {log})"
        code = message["exit"]
        why = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        memory = ", often for want of memory" if code == -signal.SIGKILL else ""
        return (
            f"the worker of {name} {why}{memory}; run again to go on (--jobs 1 needs less memory; "
            f"log: {log})"
        )

    def _stop(self, workers: Sequence[_Worker]) -> None:
        """End workers: politely, then at once."""
        for worker in workers:
            _signal(worker.process, signal.SIGTERM)
        until = time.monotonic() + _PATIENCE
        for worker in workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(0.0, until - time.monotonic()))
            _signal(worker.process, signal.SIGKILL)
            worker.process.wait()
        self._workers = [worker for worker in self._workers if worker not in workers]


def _signal(process: subprocess.Popen[str], number: int) -> None:
    """Signal a worker and its children, if they still live."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def default_jobs() -> int:
    """Workers at a time: one a core, but no more than the tree has branches."""
    return min(edge.cores(), 4)


def threads_of(run: Path, name: str, jobs: int) -> int:
    """Threads of a step's worker: its share of the cores; all for what comes before the nodes.

    A step that was begun keeps its number, because another number may round otherwise.
    """
    if name in BEFORE:
        return edge.cores()
    begun = run / name / edge.GROWING
    if begun.is_file():
        return int(read_json(begun)["threads"])
    return max(1, edge.cores() // jobs)


def environment(threads: int) -> dict[str, str]:
    """Environment variables that hold libraries to so many threads and make them repeatable."""
    libraries = ("OMP", "MKL", "OPENBLAS", "RAYON", "NUMEXPR")
    return {f"{library}_NUM_THREADS": str(threads) for library in libraries} | {
        "VECLIB_MAXIMUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
        "PYTHONHASHSEED": "0",
        "HF_HUB_OFFLINE": "1",
    }
