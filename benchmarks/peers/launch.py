"""Run one task of one peer in its own environment.

An environment is a folder under `environments` with the peer's name, made by
`python -m venv FOLDER/NAME && FOLDER/NAME/bin/pip install -r benchmarks/peers/NAME.txt`.
A peer without one is skipped with a line that says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ENVIRONMENTS = Path.home() / ".cache" / "regrow-peers"


@cache
def python_of(peer: str, environments: Path) -> Path | None:
    if peer == "regrow":
        return Path(sys.executable)
    python = environments / peer / "bin" / "python"
    if python.exists():
        return python
    make = f"python -m venv {environments / peer}"
    print(
        f"{peer} skipped; to have it: {make} && "
        f"{environments / peer}/bin/pip install -r benchmarks/peers/{peer}.txt"
    )
    return None


def launch(
    peer: str, task: str, source: Path, environments: Path, timeout_s: float = 3600, **options: Any
) -> dict[str, Any] | None:
    """The peer's answer (cpu_s, wall_s, peak_mb, result); None where it is missing or fails."""
    python = python_of(peer, environments)
    if python is None:
        return None
    root = str(HERE.parent.parent)
    env = os.environ | {
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": root if peer == "regrow" else "",
        "PYTHONDONTWRITEBYTECODE": "",  # regrow runs compiled, as its installed peers do
    }
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "answer.json"
        script = HERE / f"with_{peer}.py"
        command = [python, script, task, source, target, json.dumps(options)]
        try:
            done = subprocess.run(
                list(map(str, command)), env=env, capture_output=True, text=True, timeout=timeout_s
            )
        except subprocess.TimeoutExpired:
            print(f"{peer} {task}: no answer in {timeout_s:.0f} s")
            return None
        if done.returncode or not target.exists():
            print(f"{peer} {task} failed: {done.stderr.strip()[-300:]}")
            return None
        return json.loads(target.read_text())
