"""The loop: golden losses, exact resume, guard, bad input."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from train_tiny import SETTINGS, batch_of, loss_of, run, weights

from regrow.errors import RegrowError
from regrow.model.decoder import Decoder
from regrow.train.checkpoint import Checkpoints
from regrow.train.guard import GuardSettings
from regrow.train.optim import OptimSettings


def metrics(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in rows]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    folder = tmp_path_factory.mktemp("whole")
    _, model = run(folder)
    return folder, weights(model)


def test_the_loss_curve_is_the_golden_one(whole: tuple[Path, torch.Tensor]) -> None:
    golden = json.loads((Path(__file__).parent / "golden_loss.json").read_text())
    losses = [row["loss"] for row in metrics(whole[0])]
    assert losses[:: len(losses) // 12] == pytest.approx(golden["loss"], rel=golden["relative"])


def test_two_runs_give_the_same_bits(tmp_path: Path, whole: tuple[Path, torch.Tensor]) -> None:
    _, model = run(tmp_path)
    assert torch.equal(weights(model), whole[1])
    assert metrics(tmp_path) == metrics(whole[0])


def test_a_finished_run_returns_at_once_with_the_same_weights(
    tmp_path: Path, whole: tuple[Path, torch.Tensor]
) -> None:
    first, _ = run(tmp_path)
    again, model = run(tmp_path)
    assert torch.equal(weights(model), whole[1])
    assert again == first


def test_the_summary_says_what_was_done(tmp_path: Path) -> None:
    summary, _ = run(tmp_path)
    assert summary.rows == SETTINGS.total
    assert summary.tokens == SETTINGS.total * 12
    assert summary.seen == ((0, SETTINGS.total),)
    assert summary.threads == 1
    assert summary.precision == "bf16"
    assert summary.steps == len(metrics(tmp_path))
    assert json.loads(json.dumps(summary.to_dict()))["spikes"] == 0


def test_the_callers_random_state_is_left_alone(tmp_path: Path) -> None:
    run(tmp_path)
    mine = torch.rand(3)
    torch.manual_seed(12345)
    assert torch.equal(mine, torch.rand(3))


def test_an_interrupt_saves_and_the_rest_is_exact(
    tmp_path: Path, whole: tuple[Path, torch.Tensor]
) -> None:
    calls = 0

    def interrupted(model: Decoder, batch: torch.Tensor) -> tuple[torch.Tensor, int]:
        nonlocal calls
        calls += 1
        if calls == 18:
            os.kill(os.getpid(), signal.SIGINT)
        return loss_of(model, batch)

    from train_tiny import CONFIG

    from regrow.train.loop import train

    with pytest.raises(KeyboardInterrupt):
        train(Decoder(CONFIG, seed=1), interrupted, batch_of, SETTINGS, tmp_path)
    assert len(metrics(tmp_path)) == 18
    _, model = run(tmp_path)
    assert torch.equal(weights(model), whole[1])
    assert metrics(tmp_path) == metrics(whole[0])


def test_a_broken_last_checkpoint_falls_back_and_is_noted(
    tmp_path: Path, whole: tuple[Path, torch.Tensor]
) -> None:
    run(tmp_path)
    last = max((tmp_path / "checkpoints").glob("*.safetensors"))
    last.write_bytes(last.read_bytes()[:-1])
    summary, model = run(tmp_path)
    assert torch.equal(weights(model), whole[1])
    assert metrics(tmp_path) == metrics(whole[0])
    assert last.name in summary.ledger[0]["why"]


def test_micro_batches_give_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    plain = replace(SETTINGS, precision="fp32", total=40, optim=OptimSettings("adamw", rate=1e-3))

    def quiet(model: Decoder, batch: torch.Tensor) -> tuple[torch.Tensor, int]:
        weighted = torch.zeros_like(batch[:, 1:], dtype=torch.float32)
        for row in range(len(batch)):  # rows of unlike numbers of answers
            weighted[row, : int(batch[row, 0]) % 5 + 1] = 1
        return model.loss(batch[:, :-1], batch[:, 1:], weighted)

    from train_tiny import CONFIG

    from regrow.train.loop import train

    models = []
    for micro in (0, 1, 3):
        model = Decoder(CONFIG, seed=1)
        train(model, quiet, batch_of, replace(plain, micro=micro), tmp_path / str(micro))
        models.append(weights(model))
    torch.testing.assert_close(models[1], models[0], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(models[2], models[0], atol=1e-4, rtol=1e-3)


def poisoned(bad: set[int], calls: list[int] | None = None) -> Any:
    """Batches that spoil the loss in some steps; a negative first token carries the word."""

    def batches(step: int, row: int, rows: int) -> tuple[bool, torch.Tensor]:
        if calls is not None:
            calls.append(step)
        return step in bad, batch_of(step, row, rows)

    return batches


def spoiled(model: Decoder, batch: tuple[bool, torch.Tensor]) -> tuple[torch.Tensor, int]:
    loss, n = loss_of(model, batch[1])
    return (loss * math.nan if batch[0] else loss), n


GUARDED = replace(SETTINGS, guard=GuardSettings(window=16, ready=8, before=3, after=2, rewinds=2))


def train_poisoned(folder: Path, bad: set[int], calls: list[int] | None = None) -> Any:
    from train_tiny import CONFIG

    from regrow.train.loop import train

    model = Decoder(CONFIG, seed=1)
    return train(model, spoiled, poisoned(bad, calls), GUARDED, folder), weights(model)


def test_one_bad_batch_is_left_out(tmp_path: Path) -> None:
    summary, found = train_poisoned(tmp_path, {20})
    assert (summary.spikes, summary.rewinds) == (1, 0)
    assert len(summary.seen) == 2
    assert torch.isfinite(found).all()
    assert metrics(tmp_path)[20]["loss"] is None


def test_bad_batches_in_a_row_rewind_and_are_skipped_the_second_time(tmp_path: Path) -> None:
    calls: list[int] = []
    summary, found = train_poisoned(tmp_path, {30, 31, 32}, calls)
    assert summary.rewinds == 1
    # back to the checkpoint at 21 (27 at the latest: 30 - 3), then past 27..34
    assert calls[30:] == [30, 31, 32, *range(21, 27), *range(35, max(calls) + 1)]
    events = [row for row in metrics(tmp_path) if row.get("event") == "rewind"]
    assert events == [{"step": 32, "event": "rewind", "to": 21, "skip": [27, 35]}]
    assert torch.isfinite(found).all()


def test_a_kill_after_a_rewind_changes_nothing(tmp_path: Path) -> None:
    _, wanted = train_poisoned(tmp_path / "whole", {30, 31, 32})

    class Killed(Exception):
        pass

    def dying(model: Decoder, batch: tuple[bool, torch.Tensor]) -> tuple[torch.Tensor, int]:
        calls.append(1)
        if len(calls) == 37:
            raise Killed
        return spoiled(model, batch)

    from train_tiny import CONFIG

    from regrow.train.loop import train

    calls: list[int] = []
    with pytest.raises(Killed):
        train(Decoder(CONFIG, seed=1), dying, poisoned({30, 31, 32}), GUARDED, tmp_path / "cut")
    _, found = train_poisoned(tmp_path / "cut", {30, 31, 32})
    assert torch.equal(found, wanted)
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")


def test_endless_trouble_ends_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match="diverged at step"):
        train_poisoned(tmp_path, set(range(20, 70)))


def test_other_settings_on_the_same_folder_are_refused(tmp_path: Path) -> None:
    run(tmp_path, replace(SETTINGS, total=8))
    with pytest.raises(RegrowError, match="delete that folder"):
        run(tmp_path, replace(SETTINGS, total=8, seed=4))
    run(tmp_path, replace(SETTINGS, total=8, every=3))  # how often to save is not what is trained


def test_progress_is_told_in_rows(tmp_path: Path) -> None:
    told: list[tuple[float, float]] = []
    run(tmp_path, progress=lambda done, total, **_: told.append((done, total)))
    assert told[-1] == (SETTINGS.total, SETTINGS.total)
    assert told == sorted(told)


def killed_until_done(
    folder: Path, times: int, seed: int, least: int = 1
) -> tuple[torch.Tensor, set[int]]:
    """Start the run as a program, kill -9 it at random moments, then let it end by itself.

    A kill comes `least` to 18 steps after where it resumed. Returns its weights and the steps it
    had to resume from.
    """
    chance = random.Random(seed)
    program = [sys.executable, str(Path(__file__).parent / "train_tiny.py"), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = str(Path(__file__).parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join([root, environment.get("PYTHONPATH", "")])
    rows, resumed = folder / "metrics.jsonl", {0}
    for _ in range(times):
        process = subprocess.Popen(program, env=environment)
        goal = max(resumed) + chance.randint(least, 18)
        while process.poll() is None and not (
            rows.exists() and rows.read_bytes().count(b"\n") >= goal
        ):
            time.sleep(0.001)
        time.sleep(chance.random() * 0.02)
        process.kill()
        process.wait()
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
        resumed.add(Checkpoints(folder / "checkpoints").steps()[-1])
    subprocess.run(program, env=environment, check=True, timeout=300)
    found: torch.Tensor = torch.load(folder / "weights.pt", weights_only=True)
    return found, resumed


def test_kill_9_twice_ends_with_the_same_bits(
    tmp_path: Path, whole: tuple[Path, torch.Tensor]
) -> None:
    found, resumed = killed_until_done(tmp_path, 2, seed=1, least=8)
    assert torch.equal(found, whole[1])
    assert metrics(tmp_path) == metrics(whole[0])
    assert max(resumed) > 0


@pytest.mark.slow
def test_kill_9_at_twenty_moments_ends_with_the_same_bits(
    tmp_path: Path, whole: tuple[Path, torch.Tensor]
) -> None:
    moments: set[int] = set()
    for round_ in range(5):
        folder = tmp_path / str(round_)
        folder.mkdir()
        found, resumed = killed_until_done(folder, 4, seed=round_)
        assert torch.equal(found, whole[1])
        assert metrics(folder) == metrics(whole[0])
        moments |= resumed
    assert len(moments) >= 5
