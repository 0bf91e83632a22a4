"""How a run shows itself: a live tree in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from regrow.tree import schedule
from regrow.tree.plan import MEASURE, Step

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live


@dataclass
class View:
    """Where one step stands. `state` is waiting, running or done.

    A step may have parts (sampling, a reward model, PPO), each with a count of its own.
    """

    expected: float
    state: str = "waiting"
    done: float = 0.0
    total: float = 0.0
    first: float = 0.0  # what was done already when it was taken up again
    began: float = 0.0
    since: float = 0.0  # when the part began that it is in
    parts: int = 0
    seconds: float = 0.0
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The part that is done, 0 to 1."""
        if self.state == "done":
            return 1.0
        return min(1.0, self.done / self.total) if self.total else 0.0

    def left(self, now: float, pace: float) -> float:
        """Seconds still needed, from its own speed once that is known, else as expected."""
        if self.state == "done":
            return 0.0
        if self.state == "waiting":
            return self.expected * pace
        spent = now - self.since
        moved = self.done - self.first
        later = max(self.expected * pace - (now - self.began), 0.0) if self.parts > 1 else 0.0
        if self.total and moved > 0.03 * (self.total - self.first) and spent > 1:
            return max(spent * (self.total - self.done) / moved, later)
        if self.parts > 1:
            return later
        return max(self.expected * pace * (1 - self.share) - spent * (not self.done), 0.0)


class Board:
    """What is known of all steps of a run; displays draw it."""

    def __init__(self, steps: Sequence[Step], seconds: Mapping[str, float], jobs: int) -> None:
        self.steps, self.seconds, self.jobs = steps, seconds, jobs
        self.began = time.monotonic()
        self.views = {
            step.name: View(
                seconds.get(step.name, 0.0), "done" if step.state == "done" else "waiting"
            )
            for step in steps
        }
        self.news: list[tuple[str, str]] = []

    def begin(self, name: str) -> None:
        """A step has been started."""
        view = self.views[name]
        view.state, view.began = "running", time.monotonic()
        view.since = view.began
        self.news.append((name, "begin"))

    def progress(self, name: str, done: float, total: float, metrics: Mapping[str, Any]) -> None:
        """A step has moved."""
        view = self.views[name]
        if total != view.total or done < view.done:
            view.first = done if done < total else 0.0
            view.since = time.monotonic() if view.parts else view.began
            view.parts += 1
        view.done, view.total = done, total
        view.metrics.update(metrics)

    def finish(self, name: str, seconds: float) -> None:
        """A step is done, after so many seconds over all attempts."""
        view = self.views[name]
        view.state, view.seconds = "done", seconds
        view.done = view.total
        self.news.append((name, "finish"))

    def elapsed(self) -> float:
        """Seconds since this run began."""
        return time.monotonic() - self.began

    def pace(self) -> float:
        """How much slower than expected the machine is, from what it has done here so far."""
        now, expected, actual = time.monotonic(), 0.0, 0.0
        for view in self.views.values():
            if view.state == "done" and view.began:
                expected, actual = expected + view.expected, actual + view.seconds
            elif view.state == "running" and view.parts == 1:
                moved = (view.done - view.first) / max(1.0, view.total)
                if moved > 0.05:
                    expected, actual = expected + view.expected * moved, actual + now - view.began
        return min(20.0, max(0.05, actual / expected)) if expected > 5 else 1.0

    def left(self) -> float:
        """Seconds until the whole is done."""
        now, pace = time.monotonic(), self.pace()
        each = {name: view.left(now, pace) for name, view in self.views.items()}
        busy = {name: each[name] for name, v in self.views.items() if v.state == "running"}
        steps = [
            Step(s.name, s.stage, s.needs, "done" if self.views[s.name].state == "done" else "")
            for s in self.steps
        ]
        return schedule.makespan(steps, each, self.jobs, busy)


class Display(Protocol):
    """Shows a board while a run goes on."""

    def start(self, board: Board) -> None:
        """The run begins."""

    def show(self, board: Board) -> None:
        """Something may have changed; called several times a second."""

    def stop(self, board: Board) -> None:
        """The run has ended, well or not."""


def duration(seconds: float) -> str:
    """Seconds as people say them: 42s, 3m05s, 2h10m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def told(metrics: Mapping[str, Any]) -> str:
    """The metrics worth a glance, in words."""
    parts = [str(metrics["phase"])] if "phase" in metrics else []
    for key in ("loss", "reward", "kl"):
        if key in metrics:
            parts.append(f"{key} {metrics[key]:.3f}")
    if "tokens_per_s" in metrics:
        parts.append(f"{metrics['tokens_per_s'] / 1000:.1f}k tokens/s")
    if "matrix_share" in metrics:
        parts.append(f"{metrics['matrix_share']:.0%} of the matrix rate")
    if spikes := metrics.get("spikes"):
        parts.append(f"{spikes} spike{'s' * (spikes > 1)}")
    return "  ".join(parts)


class PlainDisplay:
    """One line when a step starts, ends, or has moved on for half a minute."""

    def __init__(self, file: TextIO | None = None, every: float = 30.0) -> None:
        self._file, self._every = file, every
        self._said: dict[str, float] = {}

    def start(self, board: Board) -> None:
        """Say how much there is to do."""
        todo = sum(view.state != "done" for view in board.views.values())
        self._line(f"{todo} steps to do, about {duration(board.left())}")

    def show(self, board: Board) -> None:
        """Say what is new."""
        for name, event in board.news:
            view = board.views[name]
            self._said[name] = time.monotonic()
            if event == "begin":
                self._line(f"{name}: begins, about {duration(view.expected)}")
            else:
                self._line(f"{name}: done in {duration(view.seconds)}  {told(view.metrics)}")
        board.news.clear()
        for name, view in board.views.items():
            if view.state == "running" and time.monotonic() - self._said[name] > self._every:
                self._said[name] = time.monotonic()
                left = duration(view.left(time.monotonic(), board.pace()))
                whole = duration(board.left())
                self._line(
                    f"{name}: {view.share:.0%}  {told(view.metrics)}  {left} left, {whole} in all"
                )

    def stop(self, board: Board) -> None:
        """Say the last news."""
        self.show(board)

    def _line(self, text: str) -> None:
        print(text.rstrip(), file=self._file, flush=True)


class LiveDisplay:
    """The tree, redrawn four times a second."""

    def __init__(
        self, title: str, parents: Mapping[str, str | None], file: TextIO | None = None
    ) -> None:
        self._title, self._parents, self._file = title, parents, file
        self._live: Live | None = None

    def start(self, board: Board) -> None:
        """Take the terminal's bottom."""
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._file)
        self._live = Live(self.draw(board), console=console, refresh_per_second=4)
        self._live.start()

    def show(self, board: Board) -> None:
        """Draw anew."""
        if self._live:
            self._live.update(self.draw(board))

    def stop(self, board: Board) -> None:
        """Draw for the last time and leave it standing."""
        if self._live:
            self._live.update(self.draw(board))
            self._live.stop()

    def draw(self, board: Board) -> RenderableType:
        """The board as a table whose first column is the tree."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for name, guide in branches(board, self._parents):
            table.add_row(*self._row(board, name, guide))
        left = duration(board.left())
        whole = f"{self._title}   {duration(board.elapsed())} gone, {left} to go"
        return Group(Text(whole, style="bold"), table)

    @staticmethod
    def _row(board: Board, name: str, guide: str) -> tuple[RenderableType, ...]:
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        view = board.views[name]
        marks = {"done": ("✓", "green"), "running": ("▸", "cyan"), "waiting": ("·", "dim")}
        mark, style = marks[view.state]
        label = Text.assemble((guide, "dim"), (mark + " ", style), (name, style))
        scored = board.views.get(name + MEASURE)
        if scored and view.state == "done" and scored.state == "running":
            bar: RenderableType = ProgressBar(1.0, scored.share, width=16)
            return label, bar, "", Text("measuring", style="cyan")
        if view.state == "done":
            time_ = duration(view.seconds) if view.seconds else "was there"
            after = "measured" if scored and scored.state == "done" else ""
            return label, Text(time_, style="green"), told(view.metrics), Text(after, style="dim")
        if view.state == "running":
            left = duration(view.left(time.monotonic(), board.pace()))
            return label, ProgressBar(1.0, view.share, width=16), told(view.metrics), f"{left} left"
        return label, Text(f"~{duration(view.expected)}", style="dim"), "", ""


def branches(board: Board, parents: Mapping[str, str | None]) -> list[tuple[str, str]]:
    """(step, guide lines before its name) for world, corpus, the nodes as a tree, and report."""
    shown = [step.name for step in board.steps if not step.name.endswith(MEASURE)]
    rows: list[tuple[str, str]] = [(name, "") for name in shown if name not in parents]
    at = next((i for i, (name, _) in enumerate(rows) if name == "report"), len(rows))
    nodes = [name for name in shown if name in parents]

    def grow(name: str, before: str, last: bool, top: bool) -> list[tuple[str, str]]:
        guide = "" if top else before + ("└─" if last else "├─")
        under = "" if top else before + ("  " if last else "│ ")
        children = [other for other in nodes if parents[other] == name]
        return [(name, guide)] + [
            row for child in children for row in grow(child, under, child == children[-1], False)
        ]

    roots = [name for name in nodes if parents[name] not in nodes]
    rows[at:at] = [row for root in roots for row in grow(root, "", False, True)]
    return rows


def choose_display(title: str, parents: Mapping[str, str | None], file: TextIO) -> Display:
    """The live tree where the file is a terminal, plain lines elsewhere."""
    return LiveDisplay(title, parents, file) if file.isatty() else PlainDisplay(file)
