"""Straight and broken curves are told apart by sizes that no fit has seen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from regrow.errors import RegrowError
from regrow.evaluate import trends

SIZES = [1, 2, 4, 8, 16, 32]


def test_the_line_is_scipys_regression_on_the_logarithm() -> None:
    y = [0.1, 0.25, 0.3, 0.5, 0.55, 0.8]
    fit, expected = trends.log_linear(SIZES, y), stats.linregress(np.log2(SIZES), y)
    assert (fit.start, fit.slope) == pytest.approx((expected.intercept, expected.slope))


def test_a_break_is_found_where_it_was_put() -> None:
    fit = trends.breakpoint_fit(SIZES, [0.1, 0.1, 0.1, 0.3, 0.5, 0.7])
    assert fit.at == pytest.approx(4, rel=0.1)
    assert fit.slope == pytest.approx(0.2, rel=0.1)


def test_held_out_sizes_prefer_the_shape_that_made_the_curve() -> None:
    draw = np.random.default_rng(0)
    for _ in range(5):
        noise = draw.normal(0, 0.01, 6)
        assert trends.held_out_advantage(SIZES, np.array([0, 0, 0, 0.0, 0.4, 0.8]) + noise) > 0.005
        line = trends.held_out_advantage(SIZES, np.linspace(0.1, 0.6, 6) + noise)
        assert line < 0.001


def test_four_sizes_are_too_few_for_a_break() -> None:
    with pytest.raises(RegrowError, match="at least 5 sizes"):
        trends.held_out_advantage([1, 2, 4, 8], [0, 0, 0, 1])


def test_a_crossing_is_read_off_between_two_sizes() -> None:
    found = trends.crossover([1, 4, 16], np.array([[-1.0, -1.0, 1.0], [1, 1, 1], [-1, -1, -1]]))
    assert found[0] == pytest.approx(3.0)  # half way between log2 4 and log2 16
    assert found[1] == 0.0
    assert np.isnan(found[2])


def test_even_growth_is_as_blunt_as_can_be_and_a_jump_as_sharp() -> None:
    assert trends.sharpness([0, 1, 2, 3, 4]) == pytest.approx(0.25)
    assert trends.sharpness([0, 0, 0, 1, 1]) == 1.0
    assert trends.sharpness([1, 1]) == 0.0
