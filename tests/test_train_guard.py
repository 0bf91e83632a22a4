"""The spike guard: what it calls a spike, and what it does then."""

from __future__ import annotations

import json
import math

import pytest

from regrow.errors import RegrowError
from regrow.train.guard import Guard, GuardSettings, Reading, Verdict
from regrow.train.script import Intervention, Script

SETTINGS = GuardSettings(window=16, ready=8, before=4, after=5, patience=3, rewinds=1)


def check(
    guard: Guard, step: int, loss: float, norm: float = 1.0, embedding: float = 0.5
) -> Verdict:
    return guard.check(step, Reading(loss, norm, embedding, (4 * step, 4 * step + 4)))


def calm_guard(steps: int = 10, settings: GuardSettings = SETTINGS) -> Guard:
    guard = Guard(settings)
    for step in range(steps):
        assert check(guard, step, 2.0 + 0.01 * (step % 3)) == "accept"
    return guard


def test_a_single_spike_skips_one_update_and_leaves_the_window_alone() -> None:
    guard = calm_guard()
    before = list(guard.past["loss"])
    assert check(guard, 10, 9.0, 1.0) == "skip"
    assert list(guard.past["loss"]) == before
    assert check(guard, 11, 2.0, 1.0) == "accept"
    assert guard.streak == []
    assert [event["step"] for event in guard.ledger] == [10]


def test_spikes_in_a_row_rewind_and_leave_out_the_batches_around_them() -> None:
    saved = calm_guard(6).state()
    guard = calm_guard()
    assert [check(guard, s, 9.0, 1.0) for s in (10, 11, 12)] == ["skip", "skip", "rewind"]
    assert guard.rewind_to == 6
    assert guard.rewound(saved) == (6, 18)
    assert [s for s in range(30) if guard.skips(s)] == list(range(6, 18))
    assert len(guard.past["loss"]) == 6


def test_it_gives_up_after_repeated_failure_and_names_the_step() -> None:
    guard = calm_guard()
    saved = guard.state()
    for step in (10, 11, 12):
        check(guard, step, 9.0, 1.0)
    guard.rewound(saved)
    for step in (20, 21, 22):
        check(guard, step, 9.0, 1.0)
    with pytest.raises(RegrowError, match="step 20 again after 1 rewinds"):
        guard.rewound(saved)


def test_a_quiet_stretch_forgives_earlier_rewinds() -> None:
    guard = calm_guard()
    saved = guard.state()
    for step in (10, 11, 12):
        check(guard, step, 9.0, 1.0)
    guard.rewound(saved)
    for step in range(18, 18 + SETTINGS.window):
        check(guard, step, 2.0, 1.0)
    assert guard.rewinds == 0


def test_steps_that_a_rewind_repeats_are_no_quiet_stretch() -> None:
    saved = Guard(SETTINGS).state()
    guard = calm_guard(30)
    for step in (30, 31, 32):
        check(guard, step, 9.0)
    assert guard.rewound(saved) == (26, 38)
    for step in range(26):  # more than a window, seen to be sound before
        check(guard, step, 2.0)
    assert guard.rewinds == 1
    for step in (38, 39, 40):
        check(guard, step, 9.0)
    with pytest.raises(RegrowError, match="step 38 again after 1 rewinds"):
        guard.rewound(saved)


def test_what_is_not_finite_is_a_spike_from_the_first_step() -> None:
    guard = Guard(SETTINGS)
    assert check(guard, 0, math.nan, 1.0) == "skip"
    assert check(guard, 1, 2.0, math.inf) == "skip"


def test_before_it_is_ready_a_finite_loss_is_accepted() -> None:
    guard = calm_guard(SETTINGS.ready - 1)
    assert check(guard, 7, 50.0, 100.0) == "accept"


def test_the_gradient_norm_warns_too() -> None:
    guard = calm_guard()
    assert check(guard, 10, 2.0, 9.9) == "accept"
    assert check(guard, 11, 2.0, 10.5) == "skip"
    assert "gradient norm" in guard.ledger[-1]["why"]


def test_earlier_spikes_do_not_raise_the_limit() -> None:
    guard = calm_guard()
    for step in range(10, 30, 2):
        assert check(guard, step, 2.8, 1.0) == "skip"
        assert check(guard, step + 1, 2.0, 1.0) == "accept"


def test_state_survives_json() -> None:
    guard = calm_guard()
    check(guard, 10, 9.0, 1.0)
    again = Guard(SETTINGS)
    again.load(json.loads(json.dumps(guard.state())))
    assert again.state() == guard.state()
    assert check(again, 11, 9.0, 1.0) == check(guard, 11, 9.0, 1.0)


def test_the_embeddings_gradient_warns_alone() -> None:
    guard = calm_guard()
    assert check(guard, 10, 2.0, 1.0, 4.9) == "accept"
    assert check(guard, 11, 2.0, 1.0, 5.1) == "skip"
    assert "embedding" in guard.ledger[-1]["why"]


def test_a_model_without_embeddings_is_never_blamed_for_them() -> None:
    guard = Guard(SETTINGS)
    assert [check(guard, step, 2.0, 1.0, 0.0) for step in range(12)] == ["accept"] * 12


def test_norms_that_always_vary_much_raise_their_own_limit() -> None:
    guard = Guard(SETTINGS)
    for step in range(16):  # from 0.1 to 12.8: the median is near 1, its tenfold within the usual
        assert check(guard, step, 2.0, 0.1 * 2.0 ** (step % 8)) == "accept"
    assert check(guard, 16, 2.0, 14.0) == "accept"
    assert check(guard, 17, 2.0, 1e6) == "skip"


def test_weights_that_are_not_finite_rewind_at_once() -> None:
    guard = calm_guard()
    assert guard.check(10, Reading(math.nan, math.nan, sound=False)) == "rewind"
    assert guard.ledger[-1]["why"] == "weights are not finite"


def test_an_event_tells_what_a_person_needs() -> None:
    guard = calm_guard()
    check(guard, 10, 9.0, 3.0, 0.7)
    assert guard.ledger == [
        {
            "step": 10, "event": "spike", "why": "loss 9.000 above 2.510", "limit": 2.51,
            "loss": 9.0, "norm": 3.0, "embedding": 0.7, "rows": [40, 44],
        }
    ]  # fmt: skip


def test_going_back_again_goes_farther_back_than_the_first_time() -> None:
    guard = calm_guard(30, GuardSettings(window=16, ready=8, before=4, after=5))
    saved = guard.state()
    for step in (30, 31, 32):
        check(guard, step, 9.0)
    assert guard.rewound(saved) == (26, 38)
    for step in (38, 39, 40):  # right after what was left out
        check(guard, step, 9.0)
    assert guard.rewound(saved) == (22, 46)


def test_steps_back_and_left_out_are_palms_on_a_long_run_and_shares_on_a_short_one() -> None:
    def shape(steps: int) -> tuple[int | None, ...]:
        s = GuardSettings().for_run(steps)
        return s.window, s.ready, s.before, s.after

    assert shape(100_000) == (128, 64, 100, 200)
    assert shape(700) == (128, 64, 14, 28)
    assert shape(150) == (37, 18, 3, 6)
    assert shape(3) == (16, 8, 2, 4)
    assert GuardSettings(before=7, window=40).for_run(100_000).after == 14


def test_ignoring_notes_the_first_spike_and_the_recovery_and_does_nothing() -> None:
    guard = calm_guard(10, GuardSettings("ignore", window=16, ready=8))
    assert [check(guard, step, 9.0) for step in range(10, 40)] == ["accept"] * 30
    assert guard.check(40, Reading(math.nan, 1.0, sound=False)) == "accept"
    assert check(guard, 41, 2.0) == "accept"
    assert [(event["step"], event["event"]) for event in guard.ledger] == [
        (10, "spike"),
        (41, "recovered"),
    ]
    assert guard.ledger[-1]["after"] == 31
    assert len(guard.past["loss"]) == 11


def test_an_unknown_mode_or_a_script_in_the_wrong_place_is_refused() -> None:
    with pytest.raises(RegrowError, match="guard, ignore, script"):
        GuardSettings("ignroe")
    with pytest.raises(RegrowError, match="go together"):
        GuardSettings("script")
    with pytest.raises(RegrowError, match="earlier step"):
        Intervention(at=5, rewind=5)


def test_a_script_acts_once_and_in_order() -> None:
    script = Script([Intervention(9, clip=0.3), Intervention(4, rate=0.5)])
    assert script.due(3) is None
    assert script.due(4) == Intervention(4, rate=0.5)
    assert script.due(4) is None
    assert (script.rate, script.clip) == (0.5, None)
    assert script.due(12) == Intervention(9, clip=0.3)
    assert (script.rate, script.clip) == (0.5, 0.3)


def test_going_back_by_hand_takes_back_what_was_set_since_and_does_the_rest_there() -> None:
    script = Script([Intervention(4, rate=0.5), Intervention(9, rate=0.1)])
    first = Intervention(12, rewind=6, rate=0.7)
    script.coming.append(first)
    script.due(4)
    saved = json.loads(json.dumps(script.state()))  # a checkpoint of step 5
    script.due(9)
    assert script.due(12) == first
    script.rewound(first, saved)
    assert script.rate == 0.5
    assert script.coming == [Intervention(6, rate=0.7)]
    script.due(6)
    assert script.rate == 0.7
    assert script.due(9) is None


def noisy_guard(steps: int, settings: GuardSettings = SETTINGS) -> Guard:
    """Losses 1.9, 2.1, 2.0, ... and norms that vary by a tenth: a noise of about 0.1 each."""
    guard = Guard(settings)
    for step in range(steps):
        wave = (-0.1, 0.1, 0.0)[step % 3]
        assert check(guard, step, 2.0 + wave, math.exp(wave)) == "accept"
    return guard


def high(guard: Guard, steps: int) -> list[str]:
    """Verdicts on steps that stand high together, though none alone is above 2 + 8 * 0.1."""
    return [check(guard, 24 + i, 2.35, 1.5) for i in range(steps)]


def test_steps_that_stand_high_together_rewind_to_before_the_first() -> None:
    guard = noisy_guard(24)
    saved = guard.state()
    assert high(guard, 1) == ["accept"]
    # neighbours are 0.2, 0.1 and 0.1 apart: noise sqrt((0.04 + 0.01 + 0.01) / 3 / 2) = 0.1, so the
    # loss stands 3.5 deviations high, the norm log(1.5) / 0.1 = 4.05, and the lesser one counts
    assert guard.drift == pytest.approx(3.5 - 1)
    assert [check(guard, 25 + i, 2.35, 1.5) for i in range(3)] == ["accept", "accept", "rewind"]
    assert "since step 24" in guard.ledger[-1]["why"]
    assert guard.rewound(saved) == (20, 33)


def test_a_norm_that_stands_high_alone_is_no_drift() -> None:
    guard = noisy_guard(24)
    assert [check(guard, 24 + i, 2.0, 1.5) for i in range(9)] == ["accept"] * 9


def test_batches_that_differ_much_raise_their_own_limit() -> None:
    guard = Guard(SETTINGS)
    for step in range(16):  # most near 2.0, every fourth 2.45: a mixture of two sources
        assert check(guard, step, 2.45 if step % 4 == 3 else 2.0) == "accept"
    # neighbours are 0.45 apart in 7 of 15 pairs: noise 0.217, limit 2 + 8 * 0.217 = 3.74
    assert check(guard, 16, 3.7) == "accept"


@pytest.mark.parametrize(("rows", "verdict"), [(4, "accept"), (16, "skip")])
def test_a_smaller_batch_may_stand_higher(rows: int, verdict: str) -> None:
    guard = Guard(SETTINGS)
    for first in range(0, 256, 16):
        assert guard.check(first // 16, Reading(2.0, 1.0, rows=(first, first + 16))) == "accept"
    # above 2 + 0.5 for 16 rows, above 2 + 0.5 * sqrt(16 / 4) for 4
    assert guard.check(16, Reading(2.9, 1.0, rows=(256, 256 + rows))) == verdict


def test_other_data_on_purpose_are_measured_anew() -> None:
    guard = calm_guard()
    guard.forget()
    assert check(guard, 10, 5.0) == "accept"


def test_other_data_that_stand_as_high_after_a_rewind_are_taken_as_they_are() -> None:
    guard = noisy_guard(24)
    saved = guard.state()
    assert high(guard, 4)[-1] == "rewind"
    guard.rewound(saved)
    assert [check(guard, 32 + i, 2.35, 1.5) for i in range(9)] == ["accept"] * 9


def test_a_loss_that_falls_fast_does_not_hide_a_spike() -> None:
    guard = Guard(SETTINGS)
    for step in range(16):  # 6.0 down to 3.0: the spread of the window is 10 times its noise
        assert check(guard, step, 6.0 - 0.2 * step) == "accept"
    assert check(guard, 16, 7.0) == "skip"


def test_half_way_back_is_not_recovered() -> None:
    guard = calm_guard()
    assert check(guard, 10, 2.4) == "accept"
    assert check(guard, 11, 9.0) == "skip"
    assert check(guard, 12, 2.4) == "skip"
    assert check(guard, 13, 2.2) == "accept"
