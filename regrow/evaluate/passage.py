"""What a node could do on its way: models kept at shares of its stage, and curves over tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regrow.evaluate.comparison import Run
    from regrow.evaluate.outcomes import Score
    from regrow.page.charts import Series

FOLDER = "at"
#: Beside a model kept on the way: what its scores were measured of. Written after them.
MEASURED = "measured.json"
#: The lines whose curves the report draws, where they were measured on the way.
DRAWN = ("text", "facts_common", "rules", "labels", "cot", "instructions")


def folder_at(node: Path, share: float) -> Path:
    """Where the model of a node lies as it was after this share of its stage."""
    return node / FOLDER / f"{share:g}"


def kept_at(node: Path) -> list[tuple[float, Path]]:
    """The shares at which a node's model was kept, with the folders, in order."""
    return sorted((float(p.parent.name), p.parent) for p in node.glob(f"{FOLDER}/*/config.json"))


def on_the_way(run: Run) -> str:
    """Small charts of abilities over the tokens of a stage, a curve a node; empty without any."""
    from regrow.evaluate.abilities import LINES
    from regrow.evaluate.outcomes import read_scores
    from regrow.evaluate.sections import colours
    from regrow.page.charts import line_chart

    measured = {
        node.name: [(share, _lines(read_scores(folder)))
                    for share, folder in kept_at(run.folder / node.name)]
        for node in run.nodes
    }  # fmt: skip
    paint = colours(run.nodes)
    panels = []
    for line in LINES:
        series = []
        for node in run.nodes if line.name in DRAWN else ():
            found = [(share, one[line.name]) for share, one in measured[node.name]
                     if line.name in one]  # fmt: skip
            if found and line.name in node.lines:
                found.append((1.0, node.lines[line.name]))
                series.append(_series(node.name, node.tokens, found))
        if series:
            panels.append(
                line_chart(series, paint, title=line.title, x_title="million tokens of the stage")
            )
    return f'<div class="panels">{"".join(panels)}</div>' if panels else ""


def _lines(scores: Sequence[Score]) -> Mapping[str, Score]:
    return {score.line: score for score in scores if score.line}


def _series(name: str, tokens: int, found: Sequence[tuple[float, Any]]) -> Series:
    from regrow.page.charts import Series

    return Series(
        name,
        [(share * tokens / 1e6, one.score) for share, one in found],
        [(one.low, one.high) for _, one in found],
        [f"{name}\n{share:.0%} of its stage: {one.score:.3f} [{one.low:.3f}, {one.high:.3f}]"
         for share, one in found],
    )  # fmt: skip
