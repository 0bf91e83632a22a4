"""The loss plot of a run, drawn from its metrics.jsonl."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regrow.files import read_jsonl, write_atomic

FILE = "loss.svg"
_POINTS = 1500  # drawn at most, so that long runs stay small files
_LINES = (("loss", "#2a7"), ("norm", "#57a"), ("scale", "#a63"))


def smoothed(values: Sequence[float], weight: float) -> np.ndarray:
    """The exponential moving average [n] with its start corrected (as Adam's), `weight` on the old.

    What is not finite is passed over.
    """
    out = np.empty(len(values))
    mean = total = 0.0
    for i, value in enumerate(values):
        if np.isfinite(value):
            mean, total = weight * mean + (1 - weight) * value, weight * total + (1 - weight)
        out[i] = mean / total if total else np.nan
    return out


def draw(folder: Path) -> bool:
    """Write `folder/loss.svg` from `folder/metrics.jsonl`; False where that has no losses.

    Loss with its smoothed course (spikes left out), gradient norm and rate (as a share of its peak)
    by step; spikes are dots, rewinds lines.
    """
    path = folder / "metrics.jsonl"
    rows = list(read_jsonl(path)) if path.is_file() else []
    steps = [row for row in rows if "loss" in row and "event" not in row]
    if not steps:
        return False
    import io

    import matplotlib
    from matplotlib.figure import Figure

    spikes = [row["step"] for row in steps if "verdict" in row]
    rewinds = [row["step"] for row in rows if row.get("event") == "rewind"]
    with matplotlib.rc_context({"svg.hashsalt": "regrow", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7.2, 5.4), layout="constrained")
        panels = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1, 1))
        for panel, (key, colour) in zip(panels, _LINES):
            _line(panel, steps, key, colour)
            for step in rewinds:
                panel.axvline(step, color="#c33", linewidth=0.8, linestyle="--")
        _mark(panels[0], steps, spikes)
        panels[-1].set_xlabel("step")
        if spikes or rewinds:
            told = f"spikes: {len(spikes)} (dots), rewinds: {len(rewinds)} (dashed)"
            figure.suptitle(told, fontsize=9)
        data = io.BytesIO()
        figure.savefig(data, format="svg", metadata={"Date": None})
    write_atomic(folder / FILE, data.getvalue())
    return True


def _line(panel: Any, steps: Sequence[dict[str, Any]], key: str, colour: str) -> None:
    x = np.asarray([row["step"] for row in steps])
    y = np.asarray([np.nan if row.get(key) is None else row[key] for row in steps], float)
    every = max(1, -(-len(x) // _POINTS))
    faint = 0.35 if key == "loss" else 1.0
    panel.plot(x[::every], y[::every], color=colour, alpha=faint, linewidth=0.8)
    if key == "loss":
        calm = [np.nan if "verdict" in row else value for row, value in zip(steps, y)]
        smooth = smoothed(calm, 1 - 1 / max(2, min(100, len(y) // 50)))
        panel.plot(x[::every], smooth[::every], color=colour, linewidth=1.4)
    if key == "norm" and np.nanmin(y, initial=np.inf) > 0:
        panel.set_yscale("log")
    panel.set_ylabel({"norm": "gradient norm", "scale": "rate / peak"}.get(key, key), fontsize=8)
    panel.tick_params(which="both", labelsize=7)


def _mark(panel: Any, steps: Sequence[dict[str, Any]], spikes: Sequence[int]) -> None:
    """Dots at the spikes, on the panel's edge where the loss was not finite."""
    loss = {row["step"]: row["loss"] for row in steps if row["loss"] is not None}
    top = max(loss.values(), default=0.0)
    heights = [loss.get(step, top) for step in spikes]
    panel.plot(spikes, heights, "o", color="#c33", markersize=3)
