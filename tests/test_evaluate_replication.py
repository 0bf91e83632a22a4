"""Effects over few seeds and clustered items: hand-worked cases, scipy, and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from regrow.evaluate import replication as rp


def test_runs_without_items_have_the_t_interval_of_their_effects() -> None:
    effects = [0.3, 0.1, 0.25]
    got = rp.over_seeds(effects)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(effects), scale=stats.sem(effects))
    assert (got.low, got.high) == pytest.approx((low, high))
    assert got.p == pytest.approx(stats.ttest_1samp(effects, 0).pvalue)


def test_one_run_has_the_interval_of_its_items_and_no_variance_of_seeds() -> None:
    values = [0.2, -0.4, 1.0, 0.3, 0.6]
    got = rp.crossed(np.array([values]), range(5))
    assert (got.low, got.high) == pytest.approx(
        stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    )
    assert np.isnan(got.of_seeds)


def test_items_that_all_runs_answer_alike_leave_only_the_error_of_items() -> None:
    values = np.tile([0.2, -0.4, 1.0, 0.3, 0.6], (3, 1))
    got = rp.crossed(values, range(5))
    assert got.of_seeds == pytest.approx(0)
    assert got.error == pytest.approx(stats.sem(values[0]))
    assert got.freedom == pytest.approx(4, abs=1e-3)


def test_runs_that_differ_on_all_items_alike_leave_only_the_error_of_seeds() -> None:
    values = np.array([[0.1] * 6, [0.3] * 6, [0.5] * 6])
    got = rp.crossed(values, range(6))
    assert got.error == pytest.approx(stats.sem([0.1, 0.3, 0.5]))
    assert got.freedom == pytest.approx(2, abs=1e-3)


def test_degrees_of_freedom_lie_between_satterthwaites_and_the_safe_ones() -> None:
    # equal variances with 2 and 29 degrees: Satterthwaite's 4 / (1/2 + 1/29) = 7.48
    freedom = rp.pooled_freedom((1.0, 1.0), (2, 29), 0.95)
    matched = stats.t.ppf(0.975, 4 / (1 / 2 + 1 / 29))
    safe = np.sqrt((stats.t.ppf(0.975, 2) ** 2 + stats.t.ppf(0.975, 29) ** 2) / 2)
    assert stats.t.ppf(0.975, freedom) == pytest.approx(np.sqrt((matched**2 + safe**2) / 2))
    assert 2 < freedom < 7.48


def test_one_part_alone_keeps_its_degrees_of_freedom() -> None:
    assert rp.pooled_freedom((1.0, 0.0), (2, 29), 0.95) == pytest.approx(2)
    assert rp.pooled_freedom((0.0, 1.0), (4, 4), 0.95) == pytest.approx(4)


def test_sign_flips_of_five_agreeing_runs_reach_one_in_thirty_two() -> None:
    assert rp.sign_flip([0.1, 0.2, 0.3, 0.1, 0.4], two_sided=False) == pytest.approx(1 / 32)
    assert rp.sign_flip([0.1, 0.2, 0.3, 0.1, 0.4]) == pytest.approx(1 / 16)
    # -1 + 2 + 3 = 4; of the eight sums +6 +4 +2 0 0 -2 -4 -6 four are as large
    assert rp.sign_flip([-1.0, 2.0, 3.0]) == pytest.approx(4 / 8)


def test_sign_flips_agree_with_scipys_permutation_test() -> None:
    effects = [0.3, -0.1, 0.25, 0.4, 0.05, 0.2]
    expected = stats.permutation_test(
        (np.array(effects),), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert rp.sign_flip(effects) == pytest.approx(expected)


def test_the_hierarchical_bootstrap_of_a_mean_agrees_with_the_two_way_error() -> None:
    draw = np.random.default_rng(3)
    skill, luck = draw.normal(0, 0.15, 5), draw.normal(0, 0.3, 24)
    cells = 0.2 + skill[:, None] + luck[None] + draw.normal(0, 0.1, (5, 24))
    got = rp.hierarchical_bootstrap(
        cells[:, :, None], np.ones((5, 24, 1)), lambda means: means[:, 0]
    )
    exact = rp.crossed(cells, range(24))
    assert got.mean == pytest.approx(exact.mean)
    assert got.error == pytest.approx(exact.error, rel=0.1)


def test_a_statistic_that_most_draws_lack_has_no_error() -> None:
    rare = np.random.default_rng(0)
    sums, counts = rare.normal(size=(4, 6, 1)), np.ones((4, 6, 1))
    own = float(sums.mean())

    def only_of_all(means: rp.Array) -> rp.Array:
        near = np.abs(means[:, 0] - own) < 1e-9
        return np.where(near, means[:, 0], np.nan)

    effect = rp.hierarchical_bootstrap(sums, counts, only_of_all)
    assert effect.mean == pytest.approx(own)
    assert math.isnan(effect.error) and math.isnan(effect.low) and math.isnan(effect.p)


def test_more_seeds_help_only_as_far_as_items_allow() -> None:
    few = rp.over_seeds([0.1, 0.3, 0.2])
    assert few.seeds_for(few.detectable() / 2) > 3
    rough = rp.crossed(np.tile([0.0, 1.0, 0.0, 1.0, 1.0], (3, 1)), range(5))
    assert rough.seeds_for(0.05) is None


def test_runs_at_hand_are_no_advice_where_they_do_not_find_the_effect() -> None:
    alike = rp.crossed(np.zeros((5, 8)), range(8))  # an error wider than its parts, which are none
    assert alike.of_seeds == 0 and alike.detectable() > 0.1
    assert alike.seeds_for(0.1) is None
    assert alike.seeds_for(1.0) == 5


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(("of_seeds", "of_families"), [(0.0, 0.2), (0.15, 0.15)])
def test_intervals_over_seeds_and_families_cover_the_truth(
    seeds: int, of_seeds: float, of_families: float
) -> None:
    draw = np.random.default_rng(11)
    sizes = [9, 7, 6, 5, 5, 4, 4, 4, 3, 3, 2, 2, 1]
    families = np.repeat(np.arange(len(sizes)), sizes)
    covered = bare = 0
    for _ in range(400):
        cells = draw.normal(0, of_seeds, (seeds, 1)) + draw.normal(0, of_families, len(sizes))
        values = cells[:, families] + draw.normal(0, 0.5, (seeds, len(families)))
        got = rp.crossed(values, families.tolist())
        covered += got.low <= 0 <= got.high
        resampled = draw.choice(values.mean(1), (200, seeds)).mean(1)
        low, high = np.quantile(resampled, [0.025, 0.975])
        bare += low <= 0 <= high
    assert 0.93 <= covered / 400 <= 0.98
    assert bare / 400 < 0.8  # what a bare bootstrap over the seeds covers
