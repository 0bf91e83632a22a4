"""Statistics agree with scipy, with values worked by hand, and with simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from regrow.evaluate import statistics as st


@pytest.mark.parametrize(("passed", "n"), [(0, 10), (7, 10), (10, 10), (123, 150)])
def test_wilson_is_scipys_interval(passed: int, n: int) -> None:
    expected = stats.binomtest(passed, n).proportion_ci(method="wilson")
    assert st.wilson(passed, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_clustered_error_of_two_opposite_families_is_worked_by_hand() -> None:
    # mean 1/2; cluster sums of deviations +1 and -1; se^2 = 2/1 * (1 + 1) / 4^2 = 1/4
    # equal clusters: degrees of freedom G - 1
    error, freedom, clusters = st.clustered_error([1, 1, 0, 0], ["a", "a", "b", "b"])
    assert (error, freedom, clusters) == (pytest.approx(0.5), pytest.approx(1.0), 2)


def test_unequal_families_weigh_their_deviations_by_hand() -> None:
    # mean 1/2; sums of deviations +1.5 (3 of 4 items), -0.5 * 1 ... : items 1,1,1,-1 about 1/2
    # sums 3 * .5 = 1.5 and -1.5; se^2 = (2.25 / (1/4) + 2.25 / (3/4)) / 16 = 12 / 16
    error, freedom, _ = st.clustered_error([1, 1, 1, -1], ["a", "a", "a", "b"])
    assert error == pytest.approx(math.sqrt(12 / 16))
    assert freedom == pytest.approx(1.0)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 1.0])
def test_degrees_of_freedom_are_those_of_the_quadratic_form(correlation: float) -> None:
    sizes = np.array([34, 31, 15, 4, 1])
    share = sizes / sizes.sum()
    centre = np.eye(5) - np.outer(share, np.ones(5))
    form = centre.T @ np.diag(1 / (1 - share)) @ centre
    form = form @ np.diag(sizes * (1 + (sizes - 1) * correlation))
    expected = np.trace(form) ** 2 / np.trace(form @ form)
    assert st._freedom(sizes, correlation) == pytest.approx(expected)


def test_a_few_large_families_are_worth_fewer_than_their_number_less_one() -> None:
    draw = np.random.default_rng(2)
    sizes = [40, 25, 18, 15, 10, 8, 6, 5, 4, 4, 3, 3, 2, 2, 2, 1, 1, 1]
    families = np.repeat(np.arange(len(sizes)), sizes)
    values = draw.normal(size=len(families)) + draw.normal(size=len(sizes))[families]
    _, freedom, clusters = st.clustered_error(values.tolist(), families.tolist())
    assert clusters == 18
    assert 2 < freedom < 8


def test_items_that_are_their_own_clusters_give_the_ordinary_standard_error() -> None:
    values = [0.2, 0.9, 1.4, 3.0, 2.2]
    error, freedom, _ = st.clustered_error(values, range(5))
    assert freedom == pytest.approx(4)
    assert error == pytest.approx(stats.sem(values))


def test_one_family_alone_is_treated_as_independent_items() -> None:
    values = [0.2, 0.9, 1.4, 3.0]
    assert st.clustered_error(values, ["a"] * 4)[0] == pytest.approx(stats.sem(values))


def test_families_that_agree_to_the_last_digit_do_not_shrink_the_interval() -> None:
    alone = st.clustered_mean([1, 0] * 20, range(40))
    agreeing = st.clustered_mean([1, 0] * 20, [i // 2 for i in range(40)])
    assert agreeing == alone


def test_a_mean_of_real_values_has_the_t_interval() -> None:
    values = [1.0, 2.0, 4.0, 4.5, 7.0]
    got = st.clustered_mean(values, range(5))
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert (got.low, got.high) == pytest.approx((low, high))


def test_all_right_still_leaves_room_below_one() -> None:
    got = st.clustered_mean([1.0] * 30, ["a", "b", "c"] * 10)
    assert got.high == pytest.approx(1.0)
    assert got.low == pytest.approx(30 / (30 + 1.959964**2), abs=1e-6)


@pytest.mark.parametrize("sizes", [[20] * 12, [34, 31, 15], [19, 19, 15, 14, 7, 3, 1, 1, 1]])
def test_the_clustered_interval_covers_the_truth_where_the_plain_one_does_not(
    sizes: list[int],
) -> None:
    draw = np.random.default_rng(5)
    families = np.repeat(np.arange(len(sizes)), sizes)
    clustered = plain = 0
    for _ in range(600):
        skill = draw.beta(2, 2, size=len(sizes))  # each family has its own chance; the mean is 1/2
        values = (draw.random(len(families)) < skill[families]).astype(float).tolist()
        interval = st.clustered_mean(values, families.tolist())
        clustered += interval.low <= 0.5 <= interval.high
        low, high = st.wilson(sum(values), len(values))
        plain += low <= 0.5 <= high
    assert 0.93 <= clustered / 600 <= 0.975
    assert plain / 600 < 0.8


def test_a_paired_difference_of_single_items_is_scipys_paired_t_test() -> None:
    a, b = [1.0, 2.0, 3.0, 4.0, 6.0], [1.5, 2.1, 3.9, 5.0, 5.8]
    got = st.paired_difference(a, b, range(5))
    assert got.p == pytest.approx(stats.ttest_rel(b, a).pvalue)
    assert got.difference == pytest.approx(0.46)


def test_items_that_all_change_alike_are_judged_by_the_sign_test() -> None:
    assert st.paired_difference([0.0] * 8, [1.0] * 8, range(8)).p == pytest.approx(2 * 0.5**8)
    assert st.paired_difference([1.0] * 8, [1.0] * 8, range(8)).p == 1.0


def test_the_bootstrap_agrees_with_the_t_interval_on_many_clusters() -> None:
    draw = np.random.default_rng(1)
    a = draw.normal(size=400)
    b = a + draw.normal(0.3, 1, size=400)
    families = np.arange(400) // 4
    boot = st.paired_bootstrap(a.tolist(), b.tolist(), families.tolist(), seed=3)
    exact = st.paired_difference(a.tolist(), b.tolist(), families.tolist())
    assert boot.difference == pytest.approx(exact.difference)
    assert (boot.low, boot.high) == pytest.approx((exact.low, exact.high), abs=0.02)
    again = st.paired_bootstrap(a.tolist(), b.tolist(), families.tolist(), seed=3)
    assert again == boot


def test_a_ratio_of_means_is_bootstrapped_about_one() -> None:
    a, b = [2.0, 2.0, 2.0, 2.0] * 10, [3.0, 2.0, 3.0, 4.0] * 10
    got = st.paired_bootstrap(a, b, range(40), ratio=True)
    assert got.difference == pytest.approx(1.5)
    assert 1.3 < got.low < 1.5 < got.high < 1.7
    assert got.p < 0.01


def test_mcnemar_counts_only_the_items_that_changed() -> None:
    # 5 gained, 1 lost: 2 * P(X <= 1 | 6, 1/2) = 2 * 7 / 64
    a = [0, 0, 0, 0, 0, 1, 1, 1, 0]
    b = [1, 1, 1, 1, 1, 0, 1, 1, 0]
    assert st.mcnemar_exact(a, b) == pytest.approx(14 / 64)
    assert st.mcnemar_exact([1, 0], [1, 0]) == 1.0


def test_holm_is_worked_by_hand() -> None:
    assert st.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert st.holm([math.nan, 0.01, 0.04]) == pytest.approx([1, 0.02, 0.04])


def test_pass_at_k_is_the_share_of_subsets_with_a_pass() -> None:
    from itertools import combinations

    outcomes = [1, 1, 0, 0, 0]
    for k in (1, 2, 3, 5):
        subsets = list(combinations(outcomes, k))
        assert st.pass_at_k(5, 2, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))
    with pytest.raises(ValueError, match="at least 6"):
        st.pass_at_k(5, 2, 6)


def test_risk_grows_as_less_certain_answers_are_given() -> None:
    points = st.risk_coverage([0.9, 0.8, 0.8, 0.1], [0, 1, 0, 1])
    assert points == [(0.25, 0.0), (0.75, pytest.approx(1 / 3)), (1.0, 0.5)]


def test_the_area_under_roc_counts_ties_half() -> None:
    assert st.area_under_roc([3, 2], [1, 2]) == pytest.approx(0.875)
    assert math.isnan(st.area_under_roc([], [1.0]))


def test_the_detectable_effect_uses_both_quantiles() -> None:
    interval = st.Interval(0.5, 0.3, 0.7, 100, 11, 0.1, 10.0)
    assert interval.detectable() == pytest.approx(
        0.1 * (stats.t.ppf(0.975, 10) + stats.t.ppf(0.8, 10))
    )


def test_tost_is_two_one_sided_t_tests_worked_by_scipy() -> None:
    values = np.array([0.02, -0.03, 0.05, 0.01, -0.01, 0.00])
    above = stats.ttest_1samp(values, -0.05, alternative="greater").pvalue
    below = stats.ttest_1samp(values, 0.05, alternative="less").pvalue
    got = st.tost(values.mean(), stats.sem(values), 5, 0.05)
    assert got == pytest.approx(max(above, below))
    assert st.tost(0.0, 0.0, 3, 0.1) == 0.0
