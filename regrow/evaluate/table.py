"""The ability by node table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from regrow.evaluate.abilities import LINES, Line
from regrow.evaluate.outcomes import Score

#: Least width of a column: a score and its error.
CELL = 11


def side_by_side(
    nodes: Sequence[str], width: int, lines: Sequence[Line] = LINES
) -> list[Sequence[str]]:
    """The nodes in groups whose columns fit a window so many characters wide."""
    words = max(len(line.title) for line in lines)
    cell = max([CELL, *(len(part) for name in nodes for part in _header(name).split("\n"))])
    count = max(1, (width - words) // (cell + 2))
    return [nodes[start : start + count] for start in range(0, len(nodes), count)]


def ability_table(
    scores: Mapping[str, Sequence[Score]],
    arms: Sequence[str] = (),
    lines: Sequence[Line] = LINES,
) -> Table:
    """A table with a row for each line and a column for each node; arms come last, dimmed.

    `scores` maps nodes to their scores. Each cell shows the score and half the width of its 95 %
    interval: per cent for rates.
    """
    nodes = sorted(scores, key=lambda name: name in arms)
    table = Table(header_style="bold", pad_edge=False, box=None)
    table.add_column("ability", no_wrap=True)
    for name in nodes:
        style = "dim" if name in arms else ""
        table.add_column(_header(name), justify="right", style=style, min_width=CELL)
    held = {name: {s.line: s for s in found if s.line} for name, found in scores.items()}
    for line in lines:
        if any(line.name in found for found in held.values()):
            cells = [_cell(held[name].get(line.name), line) for name in nodes]
            table.add_row(line.title, *cells)
    return table


def _header(name: str) -> str:
    """The name of a node, a line for each of its parts."""
    return name.replace("-", "-\n")


def _cell(score: Score | None, line: Line) -> Text:
    if score is None:
        return Text("-", style="dim")
    half = (score.high - score.low) / 2
    if line.unit == "share":
        value, error = f"{score.score * 100:.0f}", f"±{half * 100:.0f}"
    else:
        value, error = f"{score.score:.2f}", f"±{half:.2f}"
    return Text.assemble((value, _style(score, line)), (f" {error}", "dim"))


def _style(score: Score, line: Line) -> str:
    if line.unit != "share" or line.best == 0:
        return ""
    good = score.score if line.best > 0 else 1 - score.score
    return "bold green" if good >= 0.8 else "yellow" if good >= 0.4 else "red"
