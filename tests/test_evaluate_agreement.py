"""How well a reward model agrees with raters, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from regrow.align.reward import Ranked
from regrow.evaluate.agreement import calibration, summary, votes
from regrow.evaluate.statistics import clustered_error

TWO, THREE = ((1,), (2,)), ((1,), (2,), (3,))


def seen(rows: tuple[tuple[int, ...], ...], *ratings: tuple[float, ...]) -> list[Ranked]:
    """One prompt's answers as several raters rate them."""
    return [Ranked(rows, some) for some in ratings]


def test_a_vote_is_a_hit_where_the_model_orders_the_pair_alike() -> None:
    # Rater one: 0 > 1 > 2. Rater two: 1 > 0, and 2 ties with both.
    held = [[Ranked(THREE, (3, 2, 1)), Ranked(THREE, (2, 3, 2.5), margin=0.6)]]
    found = votes(np.array([1.0, 2.0, 0.0]), held)
    assert [(v.pair, v.hit) for v in found] == [
        ((0, 1), 0.0), ((0, 1), 1.0), ((0, 2), 1.0), ((1, 2), 1.0)
    ]  # fmt: skip
    told = summary(found)
    assert (told["pairs"], told["votes"], told["held_prompts"]) == (3, 4, 1)
    assert told["accuracy"] == 0.75
    assert told["agreement"] == 0  # where both have a vote they disagree
    assert "of_agreement" not in told


def test_the_ceiling_is_a_second_rater_in_the_models_place() -> None:
    # Three raters on two prompts: two against one, then all alike. Of the ordered couples of
    # raters 2 of 6 agree, then 6 of 6; the model sides with the one, then with all.
    held = [seen(TWO, (1, 0), (1, 0), (0, 1)), seen(TWO, (1, 0), (1, 0), (1, 0))]
    told = summary(votes(np.array([0.0, 1.0, 1.0, 0.0]), held))
    assert told["agreement"] == pytest.approx((2 / 6 + 1) / 2, abs=1e-4)
    assert told["accuracy"] == pytest.approx((1 + 3) / 6, abs=1e-4)
    assert told["of_agreement"] == pytest.approx(1.0, abs=1e-4)
    low, high = told["of_agreement_interval"]
    assert low <= 1 <= high


def test_the_error_is_clustered_by_prompt() -> None:
    held = [seen(TWO, *[(1, 0)] * 4) for _ in range(10)]
    scores = np.array([1.0, 0.0] * 5 + [0.0, 1.0] * 5)
    told = summary(votes(scores, held))
    assert told["accuracy"] == 0.5
    # Ten prompts of which half are right: sqrt(10/9 * .25 / 10), whatever the raters' number.
    assert told["accuracy_error"] == pytest.approx(math.sqrt(10 / 9 * 0.025), abs=1e-4)
    naive, *_ = clustered_error([float(n < 20) for n in range(40)], range(40))
    assert told["accuracy_error"] > 1.9 * naive


def test_a_single_rater_has_no_ceiling_and_no_difference_is_half_a_hit() -> None:
    told = summary(votes(np.array([0.3, 0.3]), [seen(TWO, (1, 0))]))
    assert (told["accuracy"], told["agreement"]) == (0.5, None)
    assert "of_agreement" not in told


def test_without_a_vote_nothing_is_claimed() -> None:
    told = summary(votes(np.array([0.3, 0.1]), [seen(TWO, (1, 1))]))
    assert (told["accuracy"], told["votes"], told["pairs"]) == (None, 0, 0)


def test_the_reliability_table_sets_certainty_against_the_share_who_agree() -> None:
    # log(3) apart is 75 % sure: three of four raters agree, so the model is calibrated there.
    # log(19) apart is 95 % sure, and one of two agrees.
    held = [seen(TWO, (1, 0), (1, 0), (1, 0), (0, 1)), seen(TWO, (0, 1), (1, 0))]
    found = votes(np.array([math.log(3), 0.0, 0.0, math.log(19)]), held)
    assert calibration(found) == [
        {"from": 0.7, "to": 0.8, "votes": 4, "predicted": 0.75, "agreed": 0.75},
        {"from": 0.9, "to": 1.0, "votes": 2, "predicted": 0.95, "agreed": 0.5},
    ]
    assert summary(found)["calibration_error"] == pytest.approx(2 / 6 * 0.45, abs=1e-4)


def test_absolute_certainty_stands_in_the_last_row() -> None:
    (row,) = calibration(votes(np.array([1e4, 0.0]), [seen(TWO, (1, 0))]))
    assert (row["to"], row["predicted"], row["agreed"]) == (1.0, 1.0, 1.0)
