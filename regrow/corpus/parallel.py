"""Batches of pages through worker processes, with a limit on the time that one page may take."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from regrow.corpus.page import Page

Work = Callable[[list[Page]], list[Page]]

BATCH = 64
FEW = 256  # pages that do not pay for starting processes


def cores(jobs: int) -> int:
    """Worker processes to use; 0 asks for as many as this process may run on."""
    if jobs:
        return jobs
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, even inside a parser


def _limited(work: Work, limit_s: float, pages: list[Page]) -> list[Page]:
    """Work under a limit of processor time; the process dies when it is passed."""
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        return work(pages)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def map_pages(
    work: Work, pages: Sequence[Page], jobs: int, limit_s: float, stage: str
) -> Iterator[list[Page]]:
    """Yield `work(batch)` for batches of pages in their order.

    `work` must be picklable and return a batch of the same length. A page that takes more than
    `limit_s` seconds of processor time, or kills its process, comes back with a reason and costs
    nothing else. With one job or few pages all is done in this process, without a limit.
    """
    batches = [list(pages[i : i + BATCH]) for i in range(0, len(pages), BATCH)]
    workers = min(cores(jobs), len(batches))
    if workers <= 1 or len(pages) <= FEW:
        yield from map(work, batches)
        return
    pool = _pool(workers)
    try:
        futures = [pool.submit(_limited, work, limit_s, batch) for batch in batches]
        for batch, future in zip(batches, futures, strict=True):
            done = _result(future)
            yield _retry(work, batch, limit_s, stage) if done is None else done
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")  # forking would copy threads' locks
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start)


def _result(future: Future[list[Page]]) -> list[Page] | None:
    try:
        return future.result()
    except BrokenProcessPool:
        return None


def _retry(work: Work, batch: list[Page], limit_s: float, stage: str) -> list[Page]:
    """Redo a batch that was lost with its process, halving it until the culprit stands alone."""
    with _pool(1) as pool:
        done = _result(pool.submit(_limited, work, limit_s, batch))
    if done is not None:
        return done
    if len(batch) == 1:
        batch[0].body = None
        batch[0].reason = f"{stage}: too slow"
        return batch
    half = len(batch) // 2
    first, second = batch[:half], batch[half:]
    return [*_retry(work, first, limit_s, stage), *_retry(work, second, limit_s, stage)]
