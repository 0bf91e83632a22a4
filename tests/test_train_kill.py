"""Exact resume: killed with -9 at any moment, a run ends with the same bits."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from train_tiny import BAD, run, run_poisoned, run_to_the_end, weights

from regrow.train.checkpoint import Checkpoints

#: Children are forked from a process that has torch, so that a start takes no second.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["torch", "safetensors.torch"])


def metrics(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in rows]


def digest(found: torch.Tensor) -> str:
    return hashlib.sha256(found.numpy().tobytes()).hexdigest()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Runs that nobody disturbed: their folders and the SHA-256 of their weights."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    plain, spiky = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("spiky")
    wanted = {
        "plain": (plain, digest(weights(run(plain)[1]))),
        "spiky": (spiky, digest(run_poisoned(spiky, BAD)[1])),
    }
    torch.set_num_threads(threads)
    return {**wanted, "slow": wanted["plain"]}


def killed_until_done(folder: Path, kind: str, times: int, seed: int) -> tuple[str, list[int]]:
    """Start the run as a process, kill -9 it at random moments, then let it end by itself.

    A kill comes 1 to 18 steps after where it resumed, with "slow" in the middle of a write too.
    Returns the SHA-256 of its weights and, for each kill, the step it had to resume from. On a busy
    machine a run may end before it is killed; then there are fewer.
    """
    chance = random.Random(seed)
    rows, saved = folder / "metrics.jsonl", folder / "checkpoints"
    resumed: list[int] = []

    def steps_done() -> int:
        return rows.read_bytes().count(b"\n") if rows.exists() else 0

    for _ in range(times):
        process = PROCESSES.Process(target=run_to_the_end, args=(folder, kind))
        process.start()
        goal = max(resumed, default=0) + chance.randint(1, 18)
        while process.is_alive() and steps_done() < goal:
            time.sleep(0.001)
        if kind == "slow":
            while process.is_alive() and not list(saved.glob(".*.partial")):
                time.sleep(0.0005)
        time.sleep(chance.random() * 0.02)
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            resumed.append(max(Checkpoints(saved).steps(), default=0))
    process = PROCESSES.Process(target=run_to_the_end, args=(folder, kind))
    process.start()
    process.join()
    assert process.exitcode == 0
    return digest(torch.load(folder / "weights.pt", weights_only=True)), resumed


def test_kill_9_twice_ends_with_the_same_bits(
    tmp_path: Path, whole: dict[str, tuple[Path, str]]
) -> None:
    found, resumed = killed_until_done(tmp_path, "plain", 2, seed=4)
    assert found == whole["plain"][1]
    assert metrics(tmp_path) == metrics(whole["plain"][0])
    assert resumed


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "slow", "spiky"])
def test_kill_9_at_eight_moments_each_ends_with_the_same_bits(
    tmp_path: Path, whole: dict[str, tuple[Path, str]], kind: str
) -> None:
    moments: list[int] = []
    while len(moments) < 8:
        folder = tmp_path / str(len(moments))
        found, resumed = killed_until_done(folder, kind, 3, seed=len(moments))
        assert found == whole[kind][1]
        assert metrics(folder) == metrics(whole[kind][0])
        assert resumed, "it always ended before it was killed"
        moments += resumed
    assert len(set(moments)) >= 3
