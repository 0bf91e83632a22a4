"""Batches made ahead of time by one background thread."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

#: A batch by (step, first row, rows): a pure function of them.
BatchOf = Callable[[int, int, int], Any]
_AHEAD = 2  # batches


class Prefetch:
    """`batch_of`, called ahead of time in the order of a plan.

    `plan` holds (first row, rows) of every step; steps are taken in passes of at most `micro` rows
    (0: the whole batch). Whatever is asked for is given: a batch that was not foreseen, as after a
    rewind or a skip, is where the thread starts anew, and what it had made is thrown away. An error
    in making a batch is raised where that batch is asked for. Being a pure function of the step, a
    batch is the same whoever makes it.
    """

    def __init__(self, batch_of: BatchOf, plan: Sequence[tuple[int, int]], micro: int = 0) -> None:
        self.batch_of, self.plan, self.micro = batch_of, plan, micro
        self._ready: queue.Queue[tuple[tuple[int, int, int] | None, Any, Exception | None]]
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def __call__(self, step: int, first: int, rows: int) -> Any:
        """The batch of a step's pass."""
        asked = (step, first, rows)
        if self._thread is None:
            self._begin(asked)
        made, batch, error = self._ready.get()
        if made != asked:
            self._end()
            self._begin(asked)
            made, batch, error = self._ready.get()
        if error is not None:
            raise error
        if made != asked:
            raise ValueError(f"pass {asked} is not in the plan")
        return batch

    def _begin(self, asked: tuple[int, int, int]) -> None:
        self._ready, self._stop = queue.Queue(_AHEAD), threading.Event()
        self._thread = threading.Thread(
            target=self._work, args=(asked, self._ready, self._stop), name="batches", daemon=True
        )
        self._thread.start()

    def _end(self) -> None:
        self._stop.set()
        if self._thread is not None:
            while self._thread.is_alive():  # it may wait for room
                try:
                    self._ready.get(timeout=0.01)
                except queue.Empty:
                    continue
            self._thread = None

    def _work(self, asked: tuple[int, int, int], ready: Any, stop: threading.Event) -> None:
        for wanted in self._from(asked):
            if stop.is_set():
                return
            try:
                ready.put((wanted, self.batch_of(*wanted), None))
            except Exception as error:
                ready.put((wanted, None, error))
                break
        ready.put((None, None, None))  # nothing more is foreseen

    def _from(self, asked: tuple[int, int, int]) -> Any:
        """The passes of the plan from one of them on."""
        yield asked
        step, first, _ = asked
        for later in range(step, len(self.plan)):
            start, whole = self.plan[later]
            size = self.micro or whole
            for low in range(start, start + whole, size):
                if later > step or low > first:
                    yield later, low, min(size, start + whole - low)


def made_ahead(
    batch_of: BatchOf, plan: Sequence[tuple[int, int]], micro: int, device: str
) -> contextlib.AbstractContextManager[BatchOf]:
    """Prefetch where an accelerator trains; on a CPU `batch_of` itself.

    There a batch takes half a percent of a small model's step, and a thread that made it would take
    it from the cores that train (docs/log.md).
    """
    if device == "cpu":
        return contextlib.nullcontext(batch_of)
    return Prefetch(batch_of, plan, micro)
