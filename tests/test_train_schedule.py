"""Rates and batches over a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.errors import RegrowError
from regrow.train.schedule import Schedule, plan


def test_warm_up_flat_and_linear_decay() -> None:
    schedule = Schedule(warmup=10, decay=0.6)
    assert schedule.scale(0, 0.0) == 0.1
    assert schedule.scale(9, 0.1) == 1.0
    assert schedule.scale(50, 0.4) == 1.0
    assert schedule.scale(70, 0.7) == pytest.approx(0.5)
    assert schedule.scale(99, 1.0) == pytest.approx(0.0)


def test_cosine_to_a_floor() -> None:
    schedule = Schedule(warmup=0, decay=1.0, shape="cosine", floor=0.1)
    assert schedule.scale(0, 0.0) == 1.0
    assert schedule.scale(5, 0.5) == pytest.approx(0.55)
    assert schedule.scale(10, 1.0) == pytest.approx(0.1)


def test_flat_never_decays() -> None:
    assert Schedule(warmup=0, shape="flat").scale(99, 1.0) == 1.0


def test_the_last_batch_is_what_is_left() -> None:
    assert plan(10, 4) == [(0, 4), (4, 4), (8, 2)]


def test_a_ramp_grows_linearly_in_rows() -> None:
    # at row 0: 2; at 2: 2 + 6*2/12 = 3; at 5: 2 + 6*5/12 = 4.5 -> 4; at 9: 6.5 -> 6; then 8
    assert plan(31, 8, ramp_from=2, ramp_over=12) == [
        (0, 2), (2, 3), (5, 4), (9, 6), (15, 8), (23, 8),
    ]  # fmt: skip


@given(st.integers(1, 500), st.integers(1, 40), st.integers(0, 10), st.integers(0, 300))
def test_every_row_is_in_one_batch(total: int, rows: int, start: int, over: int) -> None:
    seen = [row + i for row, size in plan(total, rows, start, over) for i in range(size)]
    assert seen == list(range(total))


def test_bad_values_are_refused() -> None:
    with pytest.raises(RegrowError, match="linear, cosine or flat"):
        Schedule(shape="step")
    with pytest.raises(RegrowError, match="share"):
        Schedule(decay=60)
    with pytest.raises(RegrowError, match="at least 1"):
        plan(0, 4)
