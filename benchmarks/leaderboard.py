"""Prints a leaderboard entry in Markdown from one run, or pooled over several seeds and variants.

python benchmarks/leaderboard.py runs/laptop [runs/laptop-seed-1 ...]
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from regrow.evaluate.abilities import LINES
from regrow.evaluate.bars import Measured, measured_bars
from regrow.evaluate.comparison import Run, read_run

MARKS = {True: "met", False: "missed", None: "reported"}


def edges(run: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(run.glob("*/edge.json"))]


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def times(run: Path) -> list[str]:
    rows = sorted(edges(run), key=lambda edge: edge["started"])
    measured = [edge["measured"]["seconds"] for edge in rows if edge.get("measured")]
    began = datetime.fromisoformat(rows[0]["started"])
    ended = max(datetime.fromisoformat(edge["finished"]) for edge in rows)
    stages = ", ".join(f"{edge['name']} {clock(edge['seconds'])}" for edge in rows)
    busy = sum(edge["seconds"] for edge in rows) + sum(measured)
    return [
        f"Work of all stages: {clock(busy)} core-minutes; first stage to last: "
        f"{clock((ended - began).total_seconds())} minutes by the clock.",
        "",
        f"By stage (minutes:seconds): {stages}; measuring {clock(sum(measured))} in all.",
    ]


def bar_row(found: Measured) -> str:
    bar = found.bar
    sign = "at least" if bar.at_least else "at most"
    wanted = "reported" if bar.bound is None else f"{sign} {bar.bound:+.2f}".replace("+0", "0")
    if bar.against and bar.bound is not None:
        wanted += f" against its {bar.against}"
    return (
        f"| {found.line.title} | `{bar.node}` | {wanted} | {found.mean:.3f} "
        f"[{found.low:.3f}, {found.high:.3f}] | {found.n} | {MARKS[found.met]} |"
    )


def grid(run: Run) -> list[str]:
    nodes = [node for node in run.nodes if not node.arm]
    out = [
        "| | " + " | ".join(f"`{node.name}`" for node in nodes) + " |",
        "|---" * (len(nodes) + 1) + "|",
    ]
    for line in LINES:
        cells = []
        for node in nodes:
            score = node.lines.get(line.name)
            half = (score.high - score.low) / 2 if score else 0.0
            cells.append(f"{score.score:.2f} ±{half:.2f}" if score else "")
        if any(cells):
            out.append(f"| {line.title} | " + " | ".join(cells) + " |")
    return out


def main() -> None:
    folders = [Path(name) for name in sys.argv[1:]] or [Path("runs/laptop")]
    runs = [read_run(folder) for folder in folders]
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    machine = edges(folders[0])[0]["machine"]
    print(f"## {folders[0].name}, commit {head}, {datetime.now():%Y-%m-%d}\n\n{machine}.\n")
    print("\n".join(times(folders[0])))
    print("\n| ability | node | bar | measured, 95 % interval | n | |\n|---|---|---|---|---|---|")
    print("\n".join(bar_row(found) for found in measured_bars(runs)))
    print("\nAll nodes (score and half the width of the 95 % interval):\n")
    print("\n".join(grid(runs[0])))


if __name__ == "__main__":
    main()
