"""The spike guard: what it calls a spike, and what it does then."""

from __future__ import annotations

import json
import math

import pytest

from regrow.errors import RegrowError
from regrow.train.guard import Guard, GuardSettings

SETTINGS = GuardSettings(window=16, ready=8, before=4, after=5, patience=3, rewinds=1)


def calm_guard(steps: int = 10) -> Guard:
    guard = Guard(SETTINGS)
    for step in range(steps):
        assert guard.check(step, 2.0 + 0.01 * (step % 3), 1.0) == "accept"
    return guard


def test_a_single_spike_skips_one_update_and_leaves_the_window_alone() -> None:
    guard = calm_guard()
    before = list(guard.losses)
    assert guard.check(10, 9.0, 1.0) == "skip"
    assert list(guard.losses) == before
    assert guard.check(11, 2.0, 1.0) == "accept"
    assert guard.streak == []
    assert [event["step"] for event in guard.ledger] == [10]


def test_spikes_in_a_row_rewind_and_leave_out_the_batches_around_them() -> None:
    saved = calm_guard(6).state()
    guard = calm_guard()
    assert [guard.check(s, 9.0, 1.0) for s in (10, 11, 12)] == ["skip", "skip", "rewind"]
    assert guard.rewind_to == 6
    guard.rewound(6, saved)
    assert [s for s in range(30) if guard.skips(s)] == list(range(6, 18))
    assert len(guard.losses) == 6
    assert guard.ledger[-1] == {"step": 12, "event": "rewind", "to": 6, "skip": [6, 18]}


def test_it_gives_up_after_repeated_failure_and_names_the_step() -> None:
    guard = calm_guard()
    saved = guard.state()
    for step in (10, 11, 12):
        guard.check(step, 9.0, 1.0)
    guard.rewound(6, saved)
    for step in (20, 21, 22):
        guard.check(step, 9.0, 1.0)
    with pytest.raises(RegrowError, match="step 20 again after 1 rewinds"):
        guard.rewound(6, saved)


def test_a_quiet_stretch_forgives_earlier_rewinds() -> None:
    guard = calm_guard()
    saved = guard.state()
    for step in (10, 11, 12):
        guard.check(step, 9.0, 1.0)
    guard.rewound(6, saved)
    for step in range(18, 18 + SETTINGS.window):
        guard.check(step, 2.0, 1.0)
    assert guard.rewinds == 0


def test_what_is_not_finite_is_a_spike_from_the_first_step() -> None:
    guard = Guard(SETTINGS)
    assert guard.check(0, math.nan, 1.0) == "skip"
    assert guard.check(1, 2.0, math.inf) == "skip"


def test_before_it_is_ready_a_finite_loss_is_accepted() -> None:
    guard = calm_guard(SETTINGS.ready - 1)
    assert guard.check(7, 50.0, 100.0) == "accept"


def test_the_gradient_norm_warns_too() -> None:
    guard = calm_guard()
    assert guard.check(10, 2.0, 9.9) == "accept"
    assert guard.check(11, 2.0, 10.5) == "skip"
    assert "gradient norm" in guard.ledger[-1]["why"]


def test_earlier_spikes_do_not_raise_the_limit() -> None:
    guard = calm_guard()
    for step in range(10, 30, 2):
        assert guard.check(step, 2.8, 1.0) == "skip"
        assert guard.check(step + 1, 2.0, 1.0) == "accept"


def test_state_survives_json() -> None:
    guard = calm_guard()
    guard.check(10, 9.0, 1.0)
    again = Guard(SETTINGS)
    again.load(json.loads(json.dumps(guard.state())))
    assert again.state() == guard.state()
    assert again.check(11, 9.0, 1.0) == guard.check(11, 9.0, 1.0)
