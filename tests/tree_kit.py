"""A small tree for the tests of regrow/tree: two roots, two children, a grandchild."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from regrow.errors import RegrowError
from regrow.tree.live import Display
from regrow.tree.plan import Step
from regrow.tree.worker import explain, work

RECIPE = """
name: sapling
world: {characters: {town: 1k, code: 1k}, people: 40}
models:
  base: {width: 8, layers: 1, heads: 1, kv_heads: 1, hidden: 16, context: 16}
mixtures:
  text: {town: 1}
  both: {town: 3, code: 1}
nodes:
  oak: {stage: pretrain, model: base, tokens: 1k, settings: {mixture: text}}
  acorn: {parent: oak, stage: supervised, tokens: 100}
  twig: {parent: oak, stage: feedme, tokens: 100, arm: true, claim: A7}
  leaf: {parent: acorn, stage: rlhf, tokens: 100, settings: {mixture: text}}
  fern: {stage: pretrain, model: base, tokens: 2k, settings: {mixture: both}}
abilities: {names: [knowledge]}
"""
TESTS = Path(__file__).parent


class Inline:
    """Execution without workers: the steps one after another in this process."""

    def __init__(
        self, run: Path, steps: Sequence[Step], jobs: int, seconds: Mapping[str, float],
        display: Display,
    ) -> None:  # fmt: skip
        self.run, self.steps = run, steps

    def __call__(self) -> None:
        for step in self.steps:
            if step.state != "done":
                try:
                    with contextlib.redirect_stdout(io.StringIO()):
                        work(self.run, step.name, lambda message: None)
                except Exception as error:
                    raise RegrowError(f"{step.name}: {explain(error)}") from error


class Garden:
    """A folder with recipe `sapling.yaml` and stages that are fakes."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.runs = folder, folder / "runs"
        self.recipe = folder / "sapling.yaml"
        self.recipe.write_text(RECIPE)
        self.run = self.runs / "sapling"
        self._patch = monkeypatch
        monkeypatch.chdir(folder)
        monkeypatch.setenv("REGROW_STAGES", "tree_fakes:STAGES")
        monkeypatch.setenv("PYTHONPATH", f"{TESTS}{os.pathsep}{TESTS.parent}")
        monkeypatch.setattr(
            "regrow.tree.calibrate._measure",
            lambda shapes, jobs, threads: {
                "tokens_per_s": dict.fromkeys(shapes, 100.0), "precision": "fp32: a fake",
                "busy": 1.6,
            },
        )  # fmt: skip

    def call(self, *words: str, **env: str) -> tuple[int, str, str]:
        """(exit code, output, errors) of `regrow ...`, in this process and without workers."""
        from regrow.cli import main

        out, errors, code = io.StringIO(), io.StringIO(), 0
        with self._patch.context() as patch:
            patch.setattr("regrow.tree.run.Execution", Inline)
            patch.setattr(sys, "argv", ["regrow", *words])
            for key, value in env.items():
                patch.setenv(key, value)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
                try:
                    main()
                except SystemExit as exit_:
                    code = exit_.code if isinstance(exit_.code, int) else 0
        return code, out.getvalue(), errors.getvalue()

    def grow(self, *words: str, **env: str) -> tuple[int, str, str]:
        """`call` for `regrow run sapling.yaml ...`."""
        return self.call("run", "sapling.yaml", *words, **env)

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        """`regrow run sapling.yaml ...` in a process of its own, with workers."""
        from regrow.tree.calibrate import speeds
        from regrow.tree.load import load_recipe

        for jobs in (1, 2, 4):
            speeds(load_recipe("sapling.yaml"), self.runs, jobs)  # so that it times nothing
        return subprocess.Popen(
            [sys.executable, "-m", "regrow.cli", "run", "sapling.yaml", *words],
            env=os.environ | env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # Shells start what runs in the background deaf to Ctrl-C, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip

    def finish(self, *words: str, **env: str) -> tuple[int, str, str]:
        """`start`, and wait for the end."""
        process = self.start(*words, **env)
        out, errors = process.communicate(timeout=60)
        return process.returncode, out, errors

    def links(self) -> list[str]:
        """What the stages did, in order: a line for each link of a node's chain."""
        log = self.run / "links.log"
        return log.read_text().splitlines() if log.is_file() else []

    def weights(self) -> dict[str, str]:
        """The weights of each node."""
        return {p.parent.name: p.read_text() for p in self.run.glob("*/model.safetensors")}
