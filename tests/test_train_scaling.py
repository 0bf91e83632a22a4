"""The loss scale of fp16: how it moves, and that overflows are neither spikes nor lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from train_golden import CONFIG, FORCED, SETTINGS, batches, loss_of
from train_tiny import weights

from regrow.errors import RegrowError
from regrow.model.decoder import Decoder
from regrow.train.guard import GuardSettings
from regrow.train.loop import TrainSettings, TrainSummary, train
from regrow.train.optim import OptimSettings, build
from regrow.train.precision import choose
from regrow.train.scaling import CEILING, LossScale

FP16 = replace(SETTINGS, precision="fp16", every=6, guard=GuardSettings(window=16, ready=8))


def run(
    folder: Path, loss: Any = loss_of, settings: TrainSettings = FP16
) -> tuple[TrainSummary, torch.Tensor]:
    model = Decoder(CONFIG, seed=1)
    return train(model, loss, batches, settings, folder), weights(model)


def test_the_scale_doubles_after_a_row_of_clean_steps_and_halves_at_an_overflow() -> None:
    scale = LossScale(start=8.0, window=3)
    values = []
    for clean in (True, True, True, True, True, False, True, True, True):
        scale.grow() if clean else scale.halve(step=0)
        values.append(scale.value)
    assert values == [8, 8, 16, 16, 16, 8, 8, 8, 16]  # the overflow starts the row anew


def test_the_scale_has_a_ceiling() -> None:
    scale = LossScale(start=CEILING, window=1)
    scale.grow()
    assert scale.value == CEILING


def test_below_the_floor_the_step_is_named() -> None:
    scale = LossScale(start=2.0**-4)
    scale.halve(step=711)
    assert scale.value == 2.0**-5
    with pytest.raises(RegrowError, match=r"below 0\.03125 at step 712: .* lower the learning"):
        scale.halve(step=712)


def test_the_scale_keeps_gradients_that_fp16_would_lose() -> None:
    model = nn.Linear(1, 1, bias=False)
    optimizer = build(model, OptimSettings("adamw"), choose("fp16"))
    one = torch.ones(1, 1, dtype=torch.float16)
    # a gradient of 2^-26; fp16 ends at 2^-24
    optimizer.backward(model(one).float().sum() * 2.0**-26)
    assert optimizer.trainable.gradients.part(0, 1).item() == 2.0**-26
    optimizer.zero_grad()
    (model(one).float().sum() * 2.0**-26).backward()
    optimizer.trainable.gather()
    assert optimizer.trainable.gradients.part(0, 1).item() == 0.0


def test_after_an_overflow_only_the_scale_moves() -> None:
    model = nn.Linear(1, 1, bias=False)
    optimizer = build(model, OptimSettings("adamw", average=0.9), choose("fp16"))
    before = {name: t.clone() for name, t in optimizer.tensors().items()}
    optimizer.backward(model(torch.full((1, 1), 6e4, dtype=torch.float16)).float().sum() * 100)
    optimizer.step()
    after = optimizer.tensors()
    assert optimizer.count == 0
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["loss_scale"]
    assert after["loss_scale"].tolist() == [2.0**15, 0.0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainSummary, torch.Tensor]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, *run(folder)


def test_an_overflow_is_in_the_metrics_and_no_spike(
    whole: tuple[Path, TrainSummary, torch.Tensor],
) -> None:
    folder, summary, _ = whole
    assert (summary.precision, summary.overflows, summary.spikes) == ("fp16", 1, 0)
    assert summary.steps == 59
    assert summary.seen == ((0, 8 * FORCED), (8 * FORCED + 8, 480))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[FORCED]["verdict"] == "overflow"
    assert rows[FORCED]["norm"] is None  # JSON has no infinity
    assert rows[FORCED]["loss"] < 2
    assert [row["loss_scale"] for row in rows[FORCED - 1 :][:2]] == [2.0**16, 2.0**15]


def test_a_loss_that_is_not_finite_is_a_spike_also_in_fp16(tmp_path: Path) -> None:
    def spoiled(model: Decoder, batch: Any) -> tuple[torch.Tensor, int]:
        loss, n = loss_of(model, (False, batch[1]))
        return (loss * torch.nan if batch[0] else loss), n

    summary, _ = run(tmp_path, spoiled)
    assert (summary.overflows, summary.spikes) == (0, 1)


def test_an_infinite_loss_that_the_guard_lets_be_is_a_lost_step(tmp_path: Path) -> None:
    def spoiled(model: Decoder, batch: Any) -> tuple[torch.Tensor, int]:
        loss, n = loss_of(model, (False, batch[1]))
        return (loss * torch.inf if batch[0] else loss), n

    summary, _ = run(tmp_path, spoiled, replace(FP16, guard=GuardSettings("ignore")))
    assert (summary.steps, summary.overflows, summary.spikes) == (59, 1, 1)
    assert summary.seen == ((0, 8 * FORCED), (8 * FORCED + 8, 480))


@pytest.mark.parametrize("cut", [FORCED, FORCED + 4])  # before and after the overflow is on disk
def test_resuming_around_an_overflow_is_exact(
    tmp_path: Path, cut: int, whole: tuple[Path, TrainSummary, torch.Tensor]
) -> None:
    class Killed(Exception):
        pass

    calls: list[int] = []

    def dying(model: Decoder, batch: Any) -> tuple[torch.Tensor, int]:
        calls.append(1)
        if len(calls) == cut + 3:
            raise Killed
        return loss_of(model, batch)

    with pytest.raises(Killed):
        run(tmp_path, dying)
    summary, found = run(tmp_path)
    assert torch.equal(found, whole[2])
    assert summary.overflows == 1


def test_endless_overflows_end_with_one_line_that_names_the_step(tmp_path: Path) -> None:
    def exploding(model: Decoder, batch: Any) -> tuple[torch.Tensor, int]:
        loss, n = loss_of(model, batch)
        return loss + (loss - loss.detach()) * 1e9, n

    # 2^16 halves 21 times to the floor of 2^-5; the step after, 21 counted from 0, is the last
    with pytest.raises(RegrowError, match=r"at step 21: .* precision bf16 or fp32"):
        run(tmp_path, exploding)


def test_micro_batches_take_no_range_from_the_scale() -> None:
    model = nn.Linear(1, 1, bias=False)
    optimizer = build(model, OptimSettings("adamw"), choose("fp16"))
    one = torch.ones(1, 1, dtype=torch.float16)
    # 2^-4 at the scale of 2^16 fits; times 2^12 tokens it would be 2^24, beyond fp16's 65504
    optimizer.backward(model(one).float().sum() * 2.0**-4, weight=4096)
    assert optimizer.trainable.gradients.part(0, 1).item() == 256.0
