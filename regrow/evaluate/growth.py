"""How the nodes grew: their losses, and what reinforcement watches, by tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regrow.evaluate.comparison import REINFORCED, Run
from regrow.evaluate.curves import node_legend
from regrow.evaluate.sections import colours
from regrow.page import charts
from regrow.page.charts import Series


def training(run: Run) -> str:
    """Loss by tokens for every node, and what RLHF watches."""
    paint = colours(run.nodes)
    groups = (
        ("Pretraining and training on: loss by tokens", "loss",
         [n for n in run.nodes if n.stage == "pretrain"]),
        ("Tuning: loss by tokens", "loss",
         [n for n in run.nodes if n.stage in ("supervised", "feedme", "dpo")]),
        ("RLHF and GRPO: reward by tokens", "reward",
         [n for n in run.nodes if n.stage in REINFORCED]),
        ("RLHF: distance from the parent (KL) by tokens", "kl",
         [n for n in run.nodes if n.stage == "rlhf"]),
        ("RLHF: gold score on prompts put aside, by tokens", "watched_gold",
         [n for n in run.nodes if n.stage == "rlhf"]),
    )  # fmt: skip
    panels = []
    for title, key, nodes in groups:
        rows = {n.name: [r for r in n.metrics if key in r] for n in nodes}
        series = [Series(name, p) for name, r in rows.items() if len(p := smooth(r, key)) > 1]
        if series:
            low = min(y for one in series for _, y in one.points)
            high = max(y for one in series for _, y in one.points)
            if key == "loss":  # the first steps would flatten all the rest
                ordered = sorted(y for one in series for _, y in one.points)
                high = ordered[int(0.97 * (len(ordered) - 1))]
                series = [
                    Series(one.name, [point for point in one.points if point[1] <= high])
                    for one in series
                ]
            panels.append(
                charts.line_chart(
                    series, paint, title=title, x_title="tokens", y_range=(low, high),
                    width=560, height=280,
                )
            )  # fmt: skip
    return f'{node_legend(run)}<div class="panels big">{"".join(panels)}</div>' if panels else ""


def smooth(
    metrics: Sequence[Mapping[str, Any]], key: str, most: int = 120
) -> list[tuple[float, float]]:
    """(tokens, mean of the metric) over at most `most` equal pieces of a training.

    Tokens are those so far; a training that follows another counts them anew from step 0 on. A
    training that went back to an earlier step is drawn as
    it went on from there; a batch that was left out adds none.
    """
    points: list[tuple[float, float]] = []
    begun = last = 0.0
    for row in metrics:
        tokens = float(row.get("tokens", row.get("step", 0)))
        if row.get("step", 0) == 0 and begun + tokens <= last:
            begun = last
        last = begun + tokens
        while points and points[-1][0] > last:
            points.pop()
        if row.get(key) is not None:
            points.append((last, float(row[key])))
    size = max(1, -(-len(points) // most))
    pieces = [points[i : i + size] for i in range(0, len(points), size)]
    return [(piece[-1][0], sum(y for _, y in piece) / len(piece)) for piece in pieces]
