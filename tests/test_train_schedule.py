"""Rates and batches over a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.errors import RegrowError
from regrow.train.schedule import Ramp, Schedule, plan


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


def test_without_room_to_decay_the_floor_is_kept_from_the_end_on() -> None:
    schedule = Schedule(warmup=4, decay=0.0, shape="cosine", floor=0.1, end=0.5)
    assert schedule.scale(0, 0.0) == 0.25
    assert schedule.scale(4, 0.4) == 1.0
    assert schedule.scale(5, 0.5) == schedule.scale(9, 0.9) == pytest.approx(0.1)
    assert schedule.scale(1, 0.6) == pytest.approx(0.05)  # still warming up
    assert Schedule(warmup=0, decay=0.0).scale(9, 0.9) == 1.0


def test_warm_up_by_share_of_the_rows_starts_at_nothing() -> None:
    schedule = Schedule(warmup=60, warmup_share=0.2, shape="flat")
    assert [schedule.scale(step, done) for step, done in ((0, 0), (1, 0.05), (2, 0.2), (3, 1))] == [
        0.0, 0.25, 1.0, 1.0,
    ]  # fmt: skip


def test_gpt3_decays_to_a_tenth_over_260_of_300_billion_tokens() -> None:
    warm, end = 0.375 / 300, 260 / 300
    schedule = Schedule(0, end - warm, "cosine", floor=0.1, end=end, warmup_share=warm)
    assert schedule.scale(1, warm) == 1.0
    assert schedule.scale(9, (warm + end) / 2) == pytest.approx(0.55)
    assert schedule.scale(9, warm + (end - warm) / 4) == pytest.approx(0.1 + 0.9 * 0.8535534)
    assert schedule.scale(9, end) == pytest.approx(0.1)
    assert schedule.scale(9, 0.95) == pytest.approx(0.1)


def test_bloom_stops_before_its_decay_does() -> None:
    schedule = Schedule(warmup=0, decay=1.25, shape="cosine", floor=0.1, end=1.25)
    assert schedule.scale(0, 0.0) == 1.0
    assert schedule.scale(9, 0.625) == pytest.approx(0.55)
    assert schedule.scale(9, 1.0) == pytest.approx(0.1 + 0.9 * 0.0954915)  # (1 + cos 0.8 pi) / 2


def test_wsd_falls_with_one_minus_the_root() -> None:
    schedule = Schedule(warmup=0, decay=0.2, shape="1-sqrt")
    assert schedule.scale(0, 0.8) == 1.0
    assert schedule.scale(0, 0.85) == pytest.approx(0.5)  # a quarter of the decay: 1 - 1/2
    assert schedule.scale(0, 0.9) == pytest.approx(1 - 0.5**0.5)
    assert schedule.scale(0, 1.0) == pytest.approx(0.0, abs=1e-9)


def test_palm_holds_for_ten_thousand_steps_and_falls_with_the_root() -> None:
    schedule = Schedule(warmup=0, shape="inverse-sqrt", hold=10_000)
    assert schedule.scale(0, 0.0) == schedule.scale(9_999, 0.1) == 1.0
    assert schedule.scale(39_999, 0.3) == 0.5  # 1e-2 * 0.5 = 1 / sqrt(40,000)
    assert schedule.scale(254_999, 1.0) == pytest.approx(0.198030, abs=1e-6)
    assert Schedule(0, shape="inverse-sqrt", hold=4, floor=0.5).scale(99, 1.0) == 0.5


@given(
    st.sampled_from(["linear", "cosine", "1-sqrt", "inverse-sqrt", "flat"]),
    st.floats(0, 1), st.floats(0, 1), st.floats(0, 2), st.integers(0, 50),
)  # fmt: skip
def test_after_the_warm_up_no_rate_rises_or_leaves_its_bounds(
    shape: str, decay: float, floor: float, more: float, warmup: int
) -> None:
    schedule = Schedule(warmup, decay, shape, floor, end=decay + more, hold=20)
    rates = [schedule.scale(step, step / 100) for step in range(warmup, 101)]
    assert rates == sorted(rates, reverse=True)
    assert all(floor - 1e-12 <= rate <= 1 for rate in rates) or shape == "flat"


def test_the_last_batch_is_what_is_left() -> None:
    assert plan(10, 4) == [(0, 4), (4, 4), (8, 2)]


def test_a_ramp_grows_linearly_in_rows() -> None:
    # at row 0: 2; at 2: 2 + 6*2/12 = 3; at 5: 2 + 6*5/12 = 4.5 -> 4; at 9: 6.5 -> 6; then 8
    assert plan(31, 8, Ramp(2, over=12)) == [
        (0, 2), (2, 3), (5, 4), (9, 6), (15, 8), (23, 8),
    ]  # fmt: skip


def test_gpt3_grows_smoothly_over_four_billion_tokens() -> None:
    # 32k tokens are 16 rows of 2048, 0.5M are 256; 4B tokens are 1,953,125 rows
    batches = dict(plan(2_200_000, 256, Ramp(16, over=1_953_125)))
    assert batches[0] == 16
    half = next(first for first in batches if first >= 976_563)
    assert batches[half] == 136  # 16 + 240 / 2
    assert {size for first, size in batches.items() if 1_953_125 <= first < 2_199_000} == {256}


def test_bloom_grows_by_sixteen_a_hundred_and_sixteen_times() -> None:
    batches = plan(12_000_000, 2048, Ramp(192, over=9_765_625, by=16))
    sizes = sorted({size for _, size in batches[:-1]})
    assert sizes == list(range(192, 2049, 16))
    # an increment each 9,765,625 / 116 = 84,186.4 samples
    firsts = {size: first for first, size in reversed(batches)}
    assert 84_187 <= firsts[208] < 84_187 + 192
    assert 9_765_625 <= firsts[2048] < 9_765_625 + 2032


def test_palm_doubles_at_its_steps() -> None:
    batches = plan(512 * 50_000 + 1024 * 65_000 + 2048 * 140_000, 2048,
                   Ramp(512, at=((50_000, 1024), (115_000, 2048))))  # fmt: skip
    assert len(batches) == 255_000
    assert [batches[step][1] for step in (0, 49_999, 50_000, 114_999, 115_000, 254_999)] == [
        512, 512, 1024, 1024, 2048, 2048,
    ]  # fmt: skip


@st.composite
def ramps(draw: st.DrawFn) -> tuple[int, Ramp]:
    """The full batch and any ramp that leads to it."""
    rows = draw(st.integers(1, 60))
    kind = draw(st.sampled_from(["none", "smooth", "increments", "steps"]))
    if kind == "none":
        return rows, Ramp()
    if kind == "smooth":
        return rows, Ramp(draw(st.integers(1, rows)), over=draw(st.integers(0, 300)))
    if kind == "increments":
        by, times = draw(st.integers(1, 8)), draw(st.integers(0, 6))
        start = draw(st.integers(1, 30))
        return start + by * times, Ramp(start, over=draw(st.integers(0, 300)), by=by)
    sizes = [*sorted(draw(st.lists(st.integers(1, rows), min_size=1, max_size=4))), rows]
    steps = draw(st.sets(st.integers(1, 40), min_size=len(sizes) - 1, max_size=len(sizes) - 1))
    return rows, Ramp(sizes[0], at=tuple(zip(sorted(steps), sizes[1:])))


@given(st.integers(1, 500), ramps())
def test_every_row_is_in_one_batch_and_batches_only_grow(
    total: int, given_ramp: tuple[int, Ramp]
) -> None:
    rows, ramp = given_ramp
    batches = plan(total, rows, ramp)
    assert [row + i for row, size in batches for i in range(size)] == list(range(total))
    sizes = [size for _, size in batches[:-1]]  # the last is what is left
    assert sizes == sorted(sizes)
    assert all(1 <= size <= rows for size in sizes)


@pytest.mark.parametrize(
    ("ramp", "word"),
    [
        (Ramp(16, over=10), "only grows and ends at 8 rows, not 16 to 8"),
        (Ramp(2, at=((5, 6),)), "ends at 8 rows, not 2 to 6"),
        (Ramp(2, at=((9, 4), (5, 8))), "must rise"),
        (Ramp(2, at=((0, 8),)), "must rise"),
        (Ramp(2, over=10, at=((5, 8),)), "not both"),
        (Ramp(2, over=10, by=4), "from 2 by 4 does not meet 8"),
        (Ramp(over=10), "rows to start from"),
    ],
)
def test_a_ramp_that_does_not_lead_to_the_full_batch_is_refused(ramp: Ramp, word: str) -> None:
    with pytest.raises(RegrowError, match=word):
        plan(100, 8, ramp)


def test_bad_values_are_refused() -> None:
    with pytest.raises(RegrowError, match="linear, cosine, 1-sqrt, inverse-sqrt or flat"):
        Schedule(shape="step")
    with pytest.raises(RegrowError, match="share"):
        Schedule(decay=60)
    with pytest.raises(RegrowError, match="floor"):
        Schedule(floor=2)
    with pytest.raises(RegrowError, match="at least 1"):
        plan(0, 4)
