"""Where tasks run: in worker processes or on a Ray cluster; the results are the same.

A task is a pure function of its arguments that leaves files behind (`regrow.corpus.parts.once`), so
that nothing depends on who runs it, in which order, or how often.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from regrow.corpus.page import Page
from regrow.errors import RegrowError

#: `work(task, watch)`; must be a function at the top of a module, so that it can be sent.
Work = Callable[[Any, "Watch"], Any]
#: Called after each task with how many are done.
Done = Callable[[int], None]


@dataclass(frozen=True)
class Watch:
    """Follows the pages of a task, so that one that hangs or kills its process is known by number.

    A page may take `limit_s` of processor time; then the process dies, and the task is done again
    without that page. Without a path nothing is watched.
    """

    path: Path | None = None
    limit_s: float = 0.0
    skip: frozenset[int] = frozenset()

    def over(self, pages: Iterable[Page], stage: str) -> Iterator[Page]:
        """The pages, each under the limit until the next is asked for; skipped ones are left out.

        A page that was skipped has got the reason `STAGE: too slow`.
        """
        if self.path is None:
            yield from pages
            return
        with open(self.path, "wb", buffering=0) as file:
            for number, page in enumerate(pages):
                if number in self.skip:
                    page.body, page.reason = None, f"{stage}: too slow"
                    continue
                os.pwrite(file.fileno(), number.to_bytes(8, "little"), 0)
                signal.setitimer(signal.ITIMER_PROF, self.limit_s)
                yield page
            signal.setitimer(signal.ITIMER_PROF, 0)
            file.truncate(0)  # what kills the process from here on is no page's fault

    def culprit(self) -> int | None:
        """The page at which the process died, or None where no page was being watched."""
        if self.path is None or not self.path.is_file():
            return None
        at = self.path.read_bytes()
        return int.from_bytes(at, "little") if at else None


class Engine(Protocol):
    """Runs tasks."""

    def map(self, work: Work, tasks: Sequence[Any], done: Done) -> list[Any]:
        """`work` on every task, results in the order of the tasks."""

    def close(self) -> None:
        """Let the workers go."""


def cores(jobs: int) -> int:
    """Worker processes to use; 0 asks for as many as this process may run on."""
    if jobs:
        return jobs
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, even inside a parser
    _one_processor()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


DEATHS = 3  # of all workers in a row, before any of them has done a task
MANY = 1000  # tasks after which workers go: memory that they freed is not all given back


class Processes:
    """Worker processes on this machine."""

    def __init__(self, jobs: int, limit_s: float, scratch: Path) -> None:
        self.jobs, self.limit_s, self.scratch = cores(jobs), limit_s, scratch
        self._workers: ProcessPoolExecutor | None = None

    def _pool(self) -> ProcessPoolExecutor:
        if self._workers is None:
            context = multiprocessing.get_context("spawn")  # forking would copy threads' locks
            self._workers = ProcessPoolExecutor(self.jobs, mp_context=context, initializer=_start)
        return self._workers

    def map(self, work: Work, tasks: Sequence[Any], done: Done) -> list[Any]:
        """Tasks side by side; those of a process that died are done again, each alone."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        results: dict[int, Any] = {}
        todo = list(range(len(tasks)))
        deaths = 0
        while todo:
            watches = {i: Watch(self.scratch / f"task-{i}", self.limit_s) for i in todo}
            for watch in watches.values():
                watch.path.unlink(missing_ok=True)  # type: ignore[union-attr]
            futures: dict[int, Future[Any]] = {}
            with suppress(BrokenProcessPool):
                for i in todo:
                    futures[i] = self._pool().submit(work, tasks[i], watches[i])
            for i, future in futures.items():
                with suppress(BrokenProcessPool):
                    results[i] = future.result()
                    done(len(results))
            todo = [i for i in todo if i not in results]
            if todo:
                self.close()
            culprits = [i for i in todo if watches[i].culprit() is not None]
            deaths = deaths + 1 if len(todo) == len(watches) and not culprits else 0
            if deaths == DEATHS:
                raise RegrowError(
                    "worker processes die as soon as they start: free some memory; and a script "
                    "that builds a corpus must do so under `if __name__ == '__main__':`"
                )
            for i in culprits:
                results[i] = self._alone(work, tasks[i], watches[i])
                done(len(results))
                todo.remove(i)
        if len(tasks) >= MANY:
            self.close()
        return [results[i] for i in range(len(tasks))]

    def _alone(self, work: Work, task: Any, watch: Watch) -> Any:
        """A task that may kill its process, until no page of it does."""
        while True:
            watch.path.unlink(missing_ok=True)  # type: ignore[union-attr]
            try:
                return self._pool().submit(work, task, watch).result()
            except BrokenProcessPool:
                self.close()
                watch = without_culprit(watch)

    def close(self) -> None:
        """Stop the processes."""
        if self._workers is not None:
            self._workers.shutdown(wait=True, cancel_futures=True)
            self._workers = None


def without_culprit(watch: Watch) -> Watch:
    """The watch that leaves out the page at which the process died."""
    culprit = watch.culprit()
    if culprit is None or culprit in watch.skip:
        raise RegrowError(
            "a worker process died, perhaps for want of memory; "
            "free some or lower corpus.jobs and run again"
        )
    return replace(watch, skip=watch.skip | {culprit})


class Ray:
    """Tasks on a Ray cluster: the one at RAY_ADDRESS, or one started on this machine.

    All machines must see the output folder under the same path.
    """

    def __init__(self, jobs: int, limit_s: float, scratch: Path) -> None:
        try:
            import ray
        except ImportError as error:
            raise RegrowError(
                "corpus.engine is ray, which is not installed; pip install 'regrow[ray]'"
            ) from error
        self.limit_s, self.scratch = limit_s, scratch
        self._mine = not ray.is_initialized()
        if self._mine:
            here = not os.environ.get("RAY_ADDRESS")
            ray.init(
                num_cpus=cores(jobs) if here else None, include_dashboard=False if here else None,
                log_to_driver=False, logging_level=40,
            )  # fmt: skip

    def map(self, work: Work, tasks: Sequence[Any], done: Done) -> list[Any]:
        """Tasks side by side, a few waiting for each processor."""
        import ray

        self.scratch.mkdir(parents=True, exist_ok=True)
        remote = ray.remote(max_retries=0)(_on_ray)
        watches = {i: Watch(self.scratch / f"task-{i}", self.limit_s) for i in range(len(tasks))}
        room = 4 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting = list(range(len(tasks)))[::-1]
        running: dict[Any, int] = {}
        results: dict[int, Any] = {}
        while waiting or running:
            while waiting and len(running) < room:
                i = waiting.pop()
                watches[i].path.unlink(missing_ok=True)  # type: ignore[union-attr]
                running[remote.remote(work, tasks[i], watches[i])] = i
            (reference,), _ = ray.wait(list(running), num_returns=1)
            i = running.pop(reference)
            try:
                results[i] = ray.get(reference)
                done(len(results))
            except ray.exceptions.WorkerCrashedError:
                watches[i] = without_culprit(watches[i])
                waiting.append(i)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
        return [results[i] for i in range(len(tasks))]

    def close(self) -> None:
        """Leave the cluster, if this engine joined it."""
        if self._mine:
            import ray

            ray.shutdown()


def lean() -> None:
    """Ask pyarrow, before it is imported, for memory that goes back to the system when it is free.

    Its own pool keeps some tens of MB in every process. Workers inherit what is asked for.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def _one_processor() -> None:
    """A worker has one processor: libraries shall not start threads for more."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["RAYON_NUM_THREADS"] = "1"


def _on_ray(work: Work, task: Any, watch: Watch) -> Any:
    lean()
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    _one_processor()
    return work(task, watch)
