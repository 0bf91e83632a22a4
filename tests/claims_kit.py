"""Claims over made-up outcomes, and stages whose measurements depend on what a node is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tree_fakes

from regrow.claims.claim import Claim, read_claim
from regrow.claims.effects import Evidence
from regrow.evaluate.outcomes import Outcome
from regrow.files import write_json, write_jsonl
from regrow.tree.stage import Stage, StageContext

RULE = {"kind": "rule", "shots": "8"}


def claim(**changes: Any) -> Claim:
    """Two twins on the rules line, predicted to rise by a tenth at least."""
    row: dict[str, Any] = {
        "id": "A7",
        "statement": "Water makes it grow",
        "standing": "H",
        "prediction": "rules rise",
        "recipe": "sapling",
        "control": "dry",
        "differ": ["node.settings.rate"],
        "arms": {"wet": {"node": "wet"}, "dry": {"node": "dry"}},
        "measures": [
            {"name": "rules", "line": "rules", "terms": {"wet": 1, "dry": -1}, "predicted": "up",
             "matters": 0.1}
        ],
    }  # fmt: skip
    return read_claim(row | changes)


def outcomes(folder: Path, values: Mapping[str, float], *, families: int = 12) -> None:
    """Write a measured node: item to value on the rules line, items dealt over families."""
    rows = [
        Outcome("in_context", item, f"family{index % families}", RULE, "accuracy", value, value - 2)
        for index, (item, value) in enumerate(values.items())
    ]
    write_jsonl(folder / "items.jsonl.gz", (row.to_row() for row in rows))
    write_json(folder / "scores.json", [])


def steady(wet: float, dry: float) -> Callable[[str, str, int], float]:
    """The same chance of a right answer in every run."""
    return lambda arm, variant, seed: wet if arm == "wet" else dry


def evidence(
    folder: Path, skill: Callable[[str, str, int], float], seeds: Mapping[str, int], items: int = 60
) -> list[Evidence]:
    """Runs of the arms wet and dry; `skill(arm, variant, seed)` is the chance of a right answer."""
    found = []
    for variant, count in seeds.items():
        for seed in range(count):
            nodes = {}
            for arm in ("wet", "dry"):
                draw = np.random.default_rng(seed + 100 * (variant == "b") + 1000 * (arm == "wet"))
                right = draw.random(items) < skill(arm, variant, seed)
                nodes[arm] = folder / f"{variant}-{seed}" / arm
                outcomes(nodes[arm], {f"{variant}{i}": float(r) for i, r in enumerate(right)})
            found.append(Evidence(variant, seed, nodes))
    return found


def measure(context: StageContext) -> dict[str, Any]:
    """A node has more rules right the higher its learning rate."""
    rate = getattr(context.node.settings, "rate", 0.0) if context.node else 0.0
    draw = np.random.default_rng(context.seed)
    right = draw.random(60) < 0.3 + 20 * rate
    outcomes(context.folder, {f"item{i}": float(r) for i, r in enumerate(right)})
    with open(context.run / "links.log", "a") as log:
        log.write(f"{context.name} measured\n")
    return {}


STAGES = {**tree_fakes.STAGES, "measure": Stage(measure, tree_fakes.second, unit="seconds")}
