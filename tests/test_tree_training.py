"""The words of a recipe on training: what they come to, and what they may not say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from regrow.errors import RegrowError
from regrow.train.optim import OptimSettings
from regrow.train.schedule import Ramp, Schedule
from regrow.tree.load import validate
from regrow.tree.settings import PretrainSettings, RewardSettings, SupervisedSettings
from regrow.tree.stages.materials import training


def said(**words: Any) -> PretrainSettings:
    return validate(PretrainSettings, {"mixture": "text", **words}, "recipe")


def test_without_a_word_all_is_as_it_was() -> None:
    found = training(said(), total=10_000, seed=1, length=256)
    assert found.optim == OptimSettings(clip=1.0)
    assert found.schedule == Schedule(warmup=60, decay=0.6)
    assert (found.ramp, found.precision, found.rows, found.every) == (Ramp(), "auto", 16, 62)
    old = training(said(ramp=0.25, rows=40), total=10_000, seed=1, length=256)
    assert old.ramp == Ramp(10, over=2_500)


def test_gpt3s_words() -> None:
    found = training(
        said(
            rows=256, optimizer="adamw", rate=6e-4, weight_decay=0.1, betas=[0.9, 0.95],
            schedule="cosine", floor=0.1, floor_at="260B", warmup_tokens="375M", ramp="4B",
            ramp_from=16,
        ),
        total=146_484_375, seed=1, length=2048,
    )  # fmt: skip
    assert found.ramp == Ramp(16, over=1_953_125)
    assert found.optim == OptimSettings("adamw", rate=6e-4, decay=0.1, betas=(0.9, 0.95), clip=1.0)
    schedule = found.schedule
    assert (schedule.shape, schedule.floor) == ("cosine", 0.1)
    assert schedule.warmup_share == pytest.approx(375e6 / 300e9)
    assert schedule.end == pytest.approx(260 / 300)
    assert schedule.end - schedule.decay == pytest.approx(schedule.warmup_share)


def test_palms_words() -> None:
    found = training(
        said(
            rows=64, optimizer="adafactor", rate=1e-2, weight_decay=1, warmup=0,
            schedule="inverse-sqrt", hold="10k", ramp_from=16, ramp_at={"50": 32, 115: 64},
        ),
        total=16_384, seed=1, length=256,
    )  # fmt: skip
    assert found.ramp == Ramp(16, at=((50, 32), (115, 64)))
    assert found.schedule.scale(39_999, 0.5) == 0.5
    assert (found.optim.name, found.optim.decay) == ("adafactor", 1.0)


def test_blooms_words() -> None:
    found = training(
        said(rows=2048, ramp="20B", ramp_from=192, ramp_by=16), 200_000_000, seed=1, length=2048
    )
    assert found.ramp == Ramp(192, over=9_765_625, by=16)


def test_a_linear_decay_begins_where_the_warm_up_ends_also_under_a_ramp() -> None:
    found = training(said(schedule="linear", warmup=4, ramp=0.5, rows=8), 160, seed=1, length=256)
    # four batches of 2 rows, 2 + 6 * 6/80 = 2.45 in the last, so that the fifth begins at row 8
    schedule = found.schedule
    assert [schedule.scale(n, 2 * n / 160) for n in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert schedule.scale(9, (8 + 152 / 2) / 160) == pytest.approx(0.5)


def test_the_other_words_go_through() -> None:
    found = training(
        said(
            precision="fp16", decays="all", average=0.99, schedule="wsd", decay=0.1,
            cooldown="1-sqrt", floor=0.2,
        ),
        total=10_000, seed=1, length=256,
    )  # fmt: skip
    assert (found.precision, found.optim.decays, found.optim.average) == ("fp16", "all", 0.99)
    assert found.schedule == Schedule(60, 0.1, "1-sqrt", 0.2)
    flat = training(said(schedule="flat"), total=10_000, seed=1, length=256)
    assert flat.schedule.scale(9_999, 1.0) == 1.0


def test_a_run_of_less_than_one_batch_has_no_ramp() -> None:
    found = training(said(ramp=0.5), total=3, seed=1, length=256)
    assert (found.rows, found.ramp) == (3, Ramp())


@pytest.mark.parametrize("schedule", ["wsd", "linear", "cosine", "inverse-sqrt", "flat"])
def test_a_recipe_that_was_written_out_in_full_is_read_again(schedule: str) -> None:
    first = said(schedule=schedule, ramp_at={7: 16}, betas=[0.9, 0.95])
    row = json.loads(json.dumps(first.model_dump(mode="json")))
    assert validate(PretrainSettings, row, "recipe") == first


def test_every_stage_that_trains_knows_the_words() -> None:
    for stage in (SupervisedSettings, RewardSettings):
        found = validate(stage, {"optimizer": "adafactor", "schedule": "cosine"}, "recipe")
        assert found.schedule == "cosine"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"schedule": "cosin"}, "'schedule' is 'cosin'; did you mean 'cosine'?"),
        ({"optimizer": "adam"}, "'optimizer' is 'adam'; did you mean 'adamw'?"),
        ({"precision": "int8"}, "'precision' is 'int8'; there are auto, bf16, fp16, fp32"),
        ({"schedule": "cosine", "decay": 0.3}, "decay belongs to schedule wsd, not to cosine"),
        ({"floor_at": 0.9}, "floor_at belongs to schedule linear or cosine, not to wsd"),
        ({"hold": 5, "schedule": "flat"}, "hold belongs to schedule inverse-sqrt, not to flat"),
        ({"floor": 0.1, "schedule": "flat"}, "schedule flat has no floor"),
        ({"ramp": 0.5, "ramp_at": {5: 16}}, "either steps or a span"),
        ({"ramp_by": 4}, "need ramp or ramp_at"),
        ({"ramp": 0.5, "ramp_from": 32}, "only grows and ends at 16 rows, not 32 to 16"),
        ({"ramp": 0.5, "ramp_by": 5}, "from 4 by 5 does not meet 16"),
        ({"ramp_at": {5: 8}}, "ends at 16 rows, not 4 to 8"),
        ({"average": 1.0}, "'average': input should be less than 1"),
        ({"warmup_token": 5}, "unknown key 'warmup_token'; did you mean 'warmup_tokens'?"),
    ],
)
def test_a_word_that_cannot_be_meant_is_refused(words: dict[str, Any], says: str) -> None:
    with pytest.raises(RegrowError) as error:
        said(**words)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
