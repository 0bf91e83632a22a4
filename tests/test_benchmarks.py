"""The benchmarks' own stand-ins for regrow still run its loops: one step of each task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
TINY = {"vocabulary": 64, "width": 16, "layers": 1, "heads": 2, "hidden": 32, "context": 128}


def rows_of(script: str, **request: Any) -> list[list[float]]:
    """The steps of the first round of a peer, which ends when its input does."""
    told = {"threads": 1, **TINY, **request}
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "peers" / script, json.dumps(told)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout, done.stderr[-2000:]
    return list(json.loads(done.stdout.splitlines()[0])["rows"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peers read /proc")
@pytest.mark.parametrize(
    ("task", "figures"), [("sft", 1), ("reward", 1), ("rollout", 1), ("learn", 2), ("grpo", 2)]
)
def test_post_training_takes_steps(task: str, figures: int) -> None:
    size = {"rows": 2, "prompts": 8, "samples": 2, "answer": 8}
    rows = rows_of("align_regrow.py", task=task, setting="bf16", **size)
    assert np.array(rows).shape == (2, 2 + figures)
    assert np.isfinite(rows).all()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peers read /proc")
def test_training_takes_steps(tmp_path: Path) -> None:
    tokens = np.arange(4000, dtype=np.uint16) % 64
    tokens.tofile(tmp_path / "tokens")
    rows = rows_of(
        "train_regrow.py", setting="bf16 muon", rows=2, tokens=str(tmp_path / "tokens"), steps=4
    )
    assert np.array(rows).shape == (2, 3)
