"""What a stage is: the way one step of a run is done, and what it is given."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from regrow.progress import Progress, silent
from regrow.tree.recipe import NodeSpec, Recipe


@dataclass(frozen=True)
class StageContext:
    """What a stage may know. It writes into `folder` only, and resumes what it finds there.

    `name` is the node's name (for the steps around the nodes: world, corpus, report). `node` is
    the node's declaration, None for those steps. `parent` is the parent's finished folder. `run`
    is the folder of the whole run.
    """

    recipe: Recipe
    name: str
    node: NodeSpec | None
    folder: Path
    parent: Path | None
    run: Path
    seed: int
    threads: int = 1
    progress: Progress = field(default=silent, compare=False)

    @property
    def world(self) -> Path:
        """The folder of the built-in world."""
        return self.run / "world"

    @property
    def corpus(self) -> Path:
        """The folder of the corpus."""
        return self.run / "corpus"


@dataclass(frozen=True)
class Stage:
    """How a step is done.

    `grow` does the work, calls `context.progress(done, total, ...)` and returns what the edge
    record shall tell beside the usual (tokens seen, spikes, optimizer carried or reset, FLOPs,
    documents ...). `estimate` says how much work it is, in `unit`: tokens of plain training of
    the node's model that would take as long, or seconds of one core of a common machine.
    A stage that is not `resumable` starts over in an empty folder.

    The registry has one for each stage name of a recipe (pretrain, supervised, feedme, rlhf,
    grpo, dpo, import) and for the steps around them: world, corpus, measure (writes scores.json and
    items.jsonl.gz into the node's folder) and report.
    """

    grow: Callable[[StageContext], dict[str, Any]]
    estimate: Callable[[StageContext], float]
    unit: Literal["tokens", "seconds"] = "tokens"
    resumable: bool = True


def registry() -> Mapping[str, Stage]:
    """The stages: `regrow.tree.stages.STAGES`, or what REGROW_STAGES names as module:attribute."""
    module, _, attribute = os.environ.get("REGROW_STAGES", "regrow.tree.stages:STAGES").partition(
        ":"
    )
    stages: Mapping[str, Stage] = getattr(importlib.import_module(module), attribute or "STAGES")
    return stages
