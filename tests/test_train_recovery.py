"""Going back within a run: by the guard, by hand, and what is left when all failed."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from train_tiny import CONFIG, GUARDED, SETTINGS, batch_of, loss_of, run, run_poisoned, weights

from regrow.errors import RegrowError
from regrow.model.decoder import Decoder
from regrow.train.checkpoint import Checkpoints
from regrow.train.guard import GuardSettings
from regrow.train.loop import Run, TrainSettings, TrainSummary, train
from regrow.train.optim import Optimizer, OptimSettings
from regrow.train.schedule import plan
from regrow.train.script import Intervention


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


pytestmark = pytest.mark.usefixtures("one_thread")


def test_one_bad_batch_is_left_out(tmp_path: Path) -> None:
    summary, found = run_poisoned(tmp_path, {20})
    assert (summary.spikes, summary.rewinds) == (1, 0)
    assert len(summary.seen) == 2
    assert torch.isfinite(found).all()
    assert metrics(tmp_path)[20]["loss"] is None
    json.dumps(summary.to_dict(), allow_nan=False)


def test_bad_batches_in_a_row_rewind_and_are_skipped_the_second_time(tmp_path: Path) -> None:
    calls: list[int] = []
    summary, found = run_poisoned(tmp_path, {30, 31, 32}, calls)
    assert summary.rewinds == 1
    # back to the checkpoint at 21 (27 at the latest: 30 - 3), then past 27..34
    assert calls[30:] == [30, 31, 32, *range(21, 27), *range(35, max(calls) + 1)]
    (event,) = [row for row in metrics(tmp_path) if row.get("event") == "rewind"]
    rows = event.pop("rows")
    assert event == {"step": 32, "event": "rewind", "to": 21, "skip": [27, 35]}
    # what was left out is the gap in what was seen
    assert rows == [summary.seen[0][1], summary.seen[1][0]]
    assert torch.isfinite(found).all()


def test_a_stop_after_a_rewind_changes_nothing(tmp_path: Path) -> None:
    _, wanted = run_poisoned(tmp_path / "whole", {30, 31, 32})
    calls: list[int] = []

    class Stopped(Exception):
        pass

    def dying(model: Decoder, batch: torch.Tensor) -> tuple[torch.Tensor, int]:
        if len(calls) == 37:
            raise Stopped
        return loss_of(model, batch)

    with pytest.raises(Stopped):
        run_poisoned(tmp_path / "cut", {30, 31, 32}, calls, loss_of=dying)
    _, found = run_poisoned(tmp_path / "cut", {30, 31, 32})
    assert torch.equal(found, wanted)


def damaged(
    folder: Path, at: int, settings: TrainSettings
) -> tuple[TrainSummary, torch.Tensor, list[int]]:
    """A run in which a working weight turns NaN once; the steps as they came."""
    steps: list[int] = []
    model = Decoder(CONFIG, seed=1)

    def batches(step: int, row: int, rows: int) -> torch.Tensor:
        if step == at and at not in steps:
            model.embedding.data[3, 2] = torch.nan
        steps.append(step)
        return batch_of(step, row, rows)

    return train(model, loss_of, batches, settings, folder), weights(model), steps


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_weight_that_is_not_finite_rewinds_at_once(tmp_path: Path, precision: str) -> None:
    summary, found, steps = damaged(tmp_path, 40, replace(GUARDED, precision=precision))
    assert torch.isfinite(found).all()
    assert (summary.spikes, summary.rewinds) == (1, 1)
    assert steps[40:44] == [40, 35, 36, 43]  # to the checkpoint at 35; 37..42 are left out
    assert summary.ledger[0]["why"] == "weights are not finite"


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    model = Decoder(CONFIG, seed=1)
    broken = []
    step = Optimizer.step

    def spoiling(self: Optimizer, scale: float = 1.0, norm: float | None = None) -> None:
        step(self, scale, norm)
        if self.count == 42 and not broken:  # the checkpoint at 42 is due after this update
            broken.append(1)
            self.trainable.master[7] = torch.inf

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Optimizer, "step", spoiling)
        summary = train(model, loss_of, batch_of, GUARDED, tmp_path)
    assert [(e["step"], e["event"]) for e in summary.ledger] == [(41, "spike"), (41, "rewind")]
    assert torch.isfinite(weights(model)).all()


def test_a_stop_saves_no_weights_that_are_not_finite(tmp_path: Path) -> None:
    _, wanted = run_poisoned(tmp_path / "whole", set())
    model = Decoder(CONFIG, seed=1)
    step = Optimizer.step

    def spoiling(self: Optimizer, scale: float = 1.0, norm: float | None = None) -> None:
        step(self, scale, norm)
        if self.count == 18:  # no checkpoint is due here
            self.trainable.master[7] = torch.inf
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Optimizer, "step", spoiling)
        train(model, loss_of, batch_of, GUARDED, tmp_path / "cut")
    assert Checkpoints(tmp_path / "cut" / "checkpoints").steps()[-1] == 14
    _, found = run_poisoned(tmp_path / "cut", set())
    assert torch.equal(found, wanted)


def test_endless_trouble_ends_with_one_line_and_a_report(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match="diverged at step") as error:
        run_poisoned(tmp_path, set(range(20, 70)))
    assert str(tmp_path / "diverged.md") in str(error.value)
    assert "\n" not in str(error.value)
    text = (tmp_path / "diverged.md").read_text()
    assert "after 2 rewinds" in text
    assert text.count("| rewind |") == 2
    assert "patience 3" in text
    with pytest.raises(RegrowError, match="diverged"):  # run again, it tells the same
        run_poisoned(tmp_path, set(range(20, 70)))
    assert (tmp_path / "diverged.md").read_text() == text


def test_trouble_without_end_is_told_also_where_checkpoints_are_far_apart(tmp_path: Path) -> None:
    settings = TrainSettings(128, rows=2, precision="fp32", every=25, seed=3)
    with pytest.raises(RegrowError, match="diverged at step 48 again after 3 rewinds"):
        run_poisoned(tmp_path, set(range(27, 64)), settings=settings)


def test_ignoring_lets_a_bad_batch_spoil_the_weights(tmp_path: Path) -> None:
    ignoring = replace(GUARDED, guard=GuardSettings("ignore"))
    summary, found = run_poisoned(tmp_path, {20}, settings=ignoring)
    assert torch.isnan(found).any()
    assert [event["step"] for event in summary.ledger] == [20]
    assert summary.rewinds == 0


def by_hand(*script: Intervention) -> TrainSettings:
    return replace(SETTINGS, guard=GuardSettings("script", script))


def test_an_undisturbed_run_has_the_same_bits_in_every_mode(tmp_path: Path) -> None:
    late = Intervention(10**6, rate=0.5)
    modes = [GuardSettings(), GuardSettings("ignore"), GuardSettings("script", (late,))]
    found = [
        weights(run(tmp_path / str(i), replace(SETTINGS, guard=mode))[1])
        for i, mode in enumerate(modes)
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_rate_set_by_hand_holds_from_there_on(tmp_path: Path) -> None:
    run(tmp_path / "plain")
    summary, _ = run(tmp_path / "hand", by_hand(Intervention(20, rate=0.25)))
    plain, hand = metrics(tmp_path / "plain"), metrics(tmp_path / "hand")
    (note,) = [row for row in hand if row.get("event") == "by hand"]
    assert note == {"step": 20, "event": "by hand", "at": 20, "rate": 0.25}
    hand.remove(note)
    assert [row["loss"] for row in hand[:21]] == [row["loss"] for row in plain[:21]]
    assert hand[21]["loss"] != plain[21]["loss"]
    assert all(h["scale"] == 0.25 * p["scale"] for h, p in zip(hand[20:], plain[20:]))
    assert [event["event"] for event in summary.ledger] == ["by hand"]


def test_going_back_by_hand_repeats_from_there_and_skips(tmp_path: Path) -> None:
    calls: list[int] = []
    settings = by_hand(Intervention(30, rewind=17, skip=5, rate=0.5))
    summary, _ = run_poisoned(tmp_path, set(), calls, settings)
    # the checkpoint at 14 and the batches from there to 17 again, then 17..21 left out
    assert calls == [*range(30), *range(14, 17), *range(22, max(calls) + 1)]
    assert summary.rows == SETTINGS.total - (summary.seen[1][0] - summary.seen[0][1])
    rows = [row for row in metrics(tmp_path) if "event" not in row]
    assert rows[32]["loss"] == rows[16]["loss"]  # the rate holds from 17 on, not before
    assert rows[32]["scale"] == rows[16]["scale"]


def test_what_is_altered_where_a_script_goes_back_to_is_altered_again(tmp_path: Path) -> None:
    settings = by_hand(Intervention(30, rewind=21, rate=0.5))
    first = Run.step
    log: list[str] = []

    def stepping(self: Run, *more: Any) -> Any:
        log.append(str(self.state.step))
        return first(self, *more)

    row = plan(settings.total, settings.rows, settings.ramp)[21][0]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Run, "step", stepping)
        run(tmp_path, settings, alters={row: lambda weights: log.append("altered")})
    assert log[20:23] == ["20", "altered", "21"]
    assert log[30:33] == ["29", "altered", "21"]
    assert log.count("altered") == 2


def test_clip_and_reset_by_hand_change_what_follows_and_survive_a_stop(tmp_path: Path) -> None:
    averaged = replace(SETTINGS, optim=OptimSettings(average=0.9))
    script = by_hand(Intervention(20, clip=0.01), Intervention(25, reset=True)).guard
    settings = replace(averaged, guard=script)
    _, plain = run_poisoned(tmp_path / "plain", set(), settings=averaged)
    summary, wanted = run_poisoned(tmp_path / "whole", set(), settings=settings)
    assert not torch.equal(plain, wanted)
    assert summary.steps == len([r for r in metrics(tmp_path / "whole") if "event" not in r])
    calls: list[int] = []

    class Stopped(Exception):
        pass

    def dying(model: Decoder, batch: torch.Tensor) -> tuple[torch.Tensor, int]:
        if calls[-1] == 40:
            raise Stopped
        return loss_of(model, batch)

    with pytest.raises(Stopped):
        run_poisoned(tmp_path / "cut", set(), calls, settings, dying)
    _, found = run_poisoned(tmp_path / "cut", set(), settings=settings)
    assert torch.equal(found, wanted)
