"""The loop: golden losses, exact resume, guard, bad input."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from train_tiny import SETTINGS, batch_of, loss_of, run, weights

from regrow.errors import RegrowError
from regrow.model.decoder import Decoder
from regrow.train.optim import OptimSettings
from regrow.train.schedule import Ramp


def metrics(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in rows]


pytestmark = pytest.mark.usefixtures("one_thread")


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


def stopped_at(folder: Path, call: int) -> None:
    """A run that ends without a word in its `call`-th step."""
    from train_tiny import CONFIG

    from regrow.train.loop import train

    calls = 0

    class Stopped(Exception):
        pass

    def dying(model: Decoder, batch: torch.Tensor) -> tuple[torch.Tensor, int]:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Stopped
        return loss_of(model, batch)

    with pytest.raises(Stopped):
        train(Decoder(CONFIG, seed=1), dying, batch_of, SETTINGS, folder)


def test_rows_met_within_one_batch_or_the_last_are_all_met(tmp_path: Path) -> None:
    short = replace(SETTINGS, total=100, rows=16, ramp=Ramp())  # 7 steps, the last from row 96
    met: dict[int, torch.Tensor] = {}
    altered: list[torch.Tensor] = []

    def flat(given: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([given[name].detach().flatten() for name in sorted(given)])

    _, model = run(
        tmp_path,
        short,
        marks={row: lambda row, given: met.update({row: flat(given)}) for row in (25, 30, 50, 97)},
        alters={97: lambda given: altered.append(flat(given))},
    )
    assert list(met) == [25, 30, 50, 97]
    assert torch.equal(met[25], met[30])
    assert not torch.equal(met[30], met[50])
    at_the_end = flat(dict(model.named_parameters()))
    assert torch.equal(met[97], at_the_end)
    assert len(altered) == 1
    assert not torch.equal(altered[0], at_the_end)  # before the last batch


@pytest.mark.parametrize("left", [None, 3])
def test_lost_metrics_are_told_and_the_rest_follows_what_is_left(
    tmp_path: Path, whole: tuple[Path, torch.Tensor], left: int | None
) -> None:
    stopped_at(tmp_path, 18)
    path = tmp_path / "metrics.jsonl"
    rows = path.read_text().splitlines(keepends=True)
    path.unlink() if left is None else path.write_text("".join(rows[:left]))
    summary, _ = run(tmp_path)
    assert metrics(tmp_path) == metrics(whole[0])[: left or 0] + metrics(whole[0])[14:]
    assert summary.ledger[0]["why"] == "metrics.jsonl lacks rows of steps before 14"


def test_another_torch_than_before_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped_at(tmp_path, 18)
    monkeypatch.setattr("regrow.train.loop._platform", lambda: {"threads": 1, "torch": "99"})
    summary, _ = run(tmp_path)
    why = f"torch changed from {torch.__version__} to 99; weights may differ in the last bits"
    assert [event["why"] for event in summary.ledger] == [why]


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


def test_other_settings_on_the_same_folder_are_refused(tmp_path: Path) -> None:
    run(tmp_path, replace(SETTINGS, total=8))
    with pytest.raises(RegrowError, match="delete that folder"):
        run(tmp_path, replace(SETTINGS, total=8, seed=4))
    run(tmp_path, replace(SETTINGS, total=8, every=3))  # how often to save is not what is trained


def test_other_data_or_another_start_on_the_same_folder_are_refused(tmp_path: Path) -> None:
    from train_tiny import CONFIG

    from regrow.train.loop import train

    short = replace(SETTINGS, total=8)

    def go_on(seed: int = 1, data: str = "a", factor: float = 1.0, width: int = 16) -> None:
        model = Decoder(replace(CONFIG, width=width), seed=seed)
        with torch.no_grad():
            model.embedding.mul_(factor)
        train(model, loss_of, batch_of, short, tmp_path, data=data)

    go_on()
    with pytest.raises(RegrowError, match="differs in data; give it what it began with, or delete"):
        go_on(data="b")
    with pytest.raises(RegrowError, match=r"differs in starting weights; .*delete that folder"):
        go_on(seed=2)
    with pytest.raises(RegrowError, match="differs in model and starting weights"):
        go_on(width=8)
    go_on(factor=1 + 1e-6)  # the same start, made with other threads


def test_a_run_of_an_older_regrow_is_refused_in_words(tmp_path: Path) -> None:
    from regrow.train.identity import check

    with pytest.raises(RegrowError, match=r"an older regrow.*delete that folder"):
        check("5e884898da28", {}, tmp_path)


def test_progress_is_told_in_rows(tmp_path: Path) -> None:
    told: list[tuple[float, float]] = []
    run(tmp_path, progress=lambda done, total, **_: told.append((done, total)))
    assert told[-1] == (SETTINGS.total, SETTINGS.total)
    assert told == sorted(told)


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    def both(model: Decoder, batch: torch.Tensor) -> tuple[torch.Tensor, int]:
        with pytest.raises(RegrowError, match="in use by process"):
            run(tmp_path)
        return loss_of(model, batch)

    from train_tiny import CONFIG

    from regrow.train.loop import train

    train(Decoder(CONFIG, seed=1), both, batch_of, replace(SETTINGS, total=8), tmp_path)


@pytest.mark.parametrize("where", ["metrics", "checkpoint"])
def test_a_full_disk_stops_the_run_and_nothing_is_lost(
    tmp_path: Path,
    whole: tuple[Path, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    calls = 0

    def filling(model: Decoder, batch: torch.Tensor) -> tuple[torch.Tensor, int]:
        nonlocal calls
        calls += 1
        if calls == 24 and where == "metrics":
            os.dup2(os.open("/dev/full", os.O_WRONLY), metrics_file(tmp_path))
        if calls == 24 and where == "checkpoint":
            monkeypatch.setattr(os, "replace", refuse)
        return loss_of(model, batch)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    from train_tiny import CONFIG

    from regrow.train.loop import train

    with pytest.raises(RegrowError, match="No space left on device; free space and run again"):
        train(Decoder(CONFIG, seed=1), filling, batch_of, SETTINGS, tmp_path)
    monkeypatch.undo()
    _, model = run(tmp_path)
    assert torch.equal(weights(model), whole[1])
    assert metrics(tmp_path) == metrics(whole[0])


def metrics_file(folder: Path) -> int:
    """The number under which this process has the run's metrics open."""
    wanted = str(folder / "metrics.jsonl")
    found = [int(link.name) for link in Path("/proc/self/fd").iterdir() if link.exists()
             and os.readlink(link) == wanted]  # fmt: skip
    return found[0]
