"""Ranks by which of a table's lines can be told apart, and with what error rate."""

from __future__ import annotations

import itertools
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from finefuse.judge.noise import Noise, no_noise
from finefuse.judge.ranks import Standing, paired_means, standing, standing_of_means
from finefuse.judge.spread import spread_of
from finefuse.judge.studentised import range_quantile

Z = np.zeros


def judged(scores: np.ndarray, *, lower: bool = False, noise: Noise | None = None, step: float = 0.0) -> Standing:
    n = len(scores)
    return standing(np.asarray(scores, float), Z(n, np.int64), lower=lower, noise=noise or no_noise(n), step=step)


# ---------------------------------------------------------------------------------------------- quantiles


@pytest.mark.parametrize(("means", "freedom"), [(2, 1.8), (3, 1), (5, 3), (20, 6.3), (50, 20), (200, 5)])
def test_quantiles_are_scipys(means: int, freedom: float) -> None:
    assert range_quantile(means, freedom) == pytest.approx(stats.studentized_range.ppf(0.95, means, freedom), rel=1e-3)


def test_quantiles_without_doubt_about_the_variance() -> None:
    assert range_quantile(20, np.inf) == pytest.approx(5.0117, abs=2e-3)  # Harter 1960
    assert range_quantile(2, np.inf) == pytest.approx(np.sqrt(2) * stats.norm.ppf(0.975))


# ---------------------------------------------------------------------------------------------- variances


def test_residuals_are_those_of_two_ways() -> None:
    scores = np.random.default_rng(0).standard_normal((6, 4))
    spread = spread_of(scores)
    residuals = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    assert spread.freedom == pytest.approx(np.full(6, 3 * 5 / 6))
    assert spread.own == pytest.approx((residuals**2).sum(1) / 2.5)
    assert spread.total == pytest.approx(15)
    assert spread.common == pytest.approx((residuals**2).sum() / 15)


def test_residuals_with_missing_scores_are_those_of_least_squares() -> None:
    rng = np.random.default_rng(1)
    scores = rng.standard_normal((5, 4))
    scores[0, 1:] = scores[3, 0] = scores[4, 2] = np.nan
    there = np.isfinite(scores)
    line, seed = np.nonzero(there)
    design = np.hstack([np.eye(5)[line], np.eye(4)[seed]])
    hat = design @ np.linalg.pinv(design)
    residuals = scores[there] - hat @ scores[there]
    left = 1 - np.diag(hat)
    spread = spread_of(scores)
    assert spread.freedom[0] == 0
    for i in range(1, 5):
        assert spread.freedom[i] == pytest.approx(left[line == i].sum())
        assert spread.own[i] == pytest.approx((residuals[line == i] ** 2).sum() / left[line == i].sum())


def test_alike_lines_share_their_variance_and_unlike_ones_do_not() -> None:
    rng = np.random.default_rng(2)
    alike = rng.standard_normal((30, 5))
    unlike = alike * np.exp(rng.standard_normal((30, 1)))
    assert spread_of(alike).weights[3:].sum() > 0.7
    assert spread_of(unlike).weights[:3].sum() > 0.9


# ---------------------------------------------------------------------------------------------- who is told apart


def test_two_lines_are_judged_nearly_by_students_paired_t() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        scores = rng.standard_normal((2, 4)) + np.array([[1.5], [0]])
        p = stats.ttest_rel(*scores).pvalue
        assert judged(scores).apart[0, 1] <= (p < 0.05)
        assert judged(scores).apart[0, 1] >= (p < 0.03)


def test_a_rank_counts_the_better_lines_that_are_told_apart() -> None:
    tops, deviations = np.array([3.0, 2.99, 1.0, 0.99, -9.0]), 0.05 * np.random.default_rng(4).standard_normal((5, 5))
    found = judged(tops[:, None] + deviations)
    assert list(found.rank) == [1, 1, 3, 3, 5]
    assert list(found.lowest) == [2, 2, 4, 4, 5]
    assert list(found.tied) == [True, True, True, True, False]
    mirrored = judged(-(tops[:, None] + deviations), lower=True)
    assert list(mirrored.rank) == list(found.rank)


def test_order_and_units_change_nothing() -> None:
    scores = np.random.default_rng(5).standard_normal((7, 3)).cumsum(0)
    order = np.random.default_rng(6).permutation(7)
    found = judged(scores)
    assert list(judged(scores[order]).rank) == list(found.rank[order])
    assert list(judged(1000 * scores + 7).rank) == list(found.rank)


def test_who_is_told_apart_from_a_better_line_is_so_from_all_above_it() -> None:
    rng = np.random.default_rng(7)
    for _ in range(50):
        scores = rng.standard_normal((9, 3)) * np.exp(rng.standard_normal((9, 1))) + 3 * rng.standard_normal((9, 1))
        apart, mean = judged(scores).apart, scores.mean(1)
        for a, b, c in itertools.permutations(range(9), 3):
            if mean[a] > mean[b] > mean[c] and apart[a, b] and apart[b, c]:
                assert apart[a, c]


def test_with_one_seed_in_common_nothing_is_told() -> None:
    assert not judged(np.array([[9.0], [1.0], [5.0]])).apart.any()
    apart_in_time = np.array([[1.0, 1.1, np.nan, np.nan], [np.nan, np.nan, 9.0, 9.1], [1.0, 1.2, 1.1, 1.0]])
    found = judged(apart_in_time)
    assert not found.apart[0, 1]
    assert np.isinf(found.needed[0, 1])
    assert np.isfinite(found.needed[0, 2])


def test_a_line_with_one_seed_costs_the_others_nothing() -> None:
    scores = np.random.default_rng(8).standard_normal((4, 3)) * 0.1 + np.arange(4)[:, None]
    lone = np.vstack([scores, [9.0, np.nan, np.nan]])
    assert (judged(lone).apart[:4, :4] == judged(scores).apart).all()
    assert judged(lone).rank[4] == 1


def test_identical_lines_are_tied_and_rounding_is_no_difference() -> None:
    same = np.array([[0.1 + 0.2, 0.7], [0.3, 0.7], [0.3, 0.7]])
    assert list(judged(same).rank) == [1, 1, 1]
    assert list(judged(np.full((3, 3), 0.5)).rank) == [1, 1, 1]


def test_lines_that_never_vary_are_told_apart_unless_a_single_example_makes_the_difference() -> None:
    far, near = np.array([[0.9, 0.9], [0.5, 0.5]]), np.array([[0.91, 0.91], [0.90, 0.90]])
    assert judged(far, step=0.01).apart[0, 1]
    assert not judged(near, step=0.01).apart[0, 1]


def test_one_line_that_never_varies_among_others_that_do() -> None:
    rng = np.random.default_rng(9)
    wrong = 0
    for _ in range(300):
        scores = rng.standard_normal((5, 3))
        scores[0] = scores[0].mean()
        wrong += judged(scores).apart.any()
    assert wrong / 300 < 0.07


def test_what_examples_leave_open_is_added() -> None:
    scores = np.array([[0.9, 0.9, 0.9], [0.8, 0.8, 0.8]])
    assert judged(scores).apart[0, 1]
    shared = np.array([[0.0, 0.07**2], [0.07**2, 0.0]])
    assert not judged(scores, noise=Noise(shared, Z((2, 2)), Z((2, 2)), Z(2), Z(2), Z(2))).apart[0, 1]
    assert not judged(scores, noise=Noise(Z((2, 2)), np.full((2, 2), 0.07**2), Z((2, 2)), Z(2), Z(2), Z(2))).apart[0, 1]


def test_a_lower_class_is_better_than_any_score() -> None:
    scores = np.array([[0.1, 0.2], [np.nan, np.nan], [np.nan, np.nan], [0.1, 0.3]])
    found = standing(scores, np.array([0, 2, 2, 0]), lower=False, noise=no_noise(4))
    assert list(found.rank) == [1, 3, 3, 1]


def test_means_are_paired_over_common_seeds() -> None:
    difference, common = paired_means(np.array([[1.0, 2.0, np.nan], [0.0, 5.0, 9.0], [np.nan, np.nan, 1.0]]))
    assert difference[0, 1] == -1.0
    assert difference[1, 0] == 1.0
    assert difference[1, 2] == 8.0
    assert list(common[0]) == [2, 2, 0]


# ---------------------------------------------------------------------------------------------- error rates


@pytest.mark.parametrize(("lines", "seeds", "spread"), [(5, 2, 0.7), (20, 3, 0.0), (20, 3, 0.7)])
def test_equal_lines_are_seldom_told_apart(study: ModuleType, lines: int, seeds: int, spread: float) -> None:
    """The slow test has the whole grid; these are its worst cells and the one that matters most."""
    wrong, _, whole = study.rank_errors(lines, seeds, spread, 300)
    assert wrong <= 0.07 + 2.5 * np.sqrt(0.07 * 0.93 / 300) if lines <= 5 else wrong <= 0.05
    assert spread or whole >= 0.7


@pytest.mark.parametrize("effect", [0.0, 2.0])
def test_equal_lines_of_which_only_means_are_known_are_seldom_told_apart(study: ModuleType, effect: float) -> None:
    wrong, pairs = study.unpaired(20, 3, 0.0, 150, effect=effect)
    assert wrong <= 0.05
    assert pairs >= (0.2 if effect else 0.9)


def test_means_alone_tell_what_rows_tell_where_nothing_is_to_be_paired() -> None:
    rng = np.random.default_rng(5)
    scores = rng.standard_normal((6, 4)) + 8 * np.arange(6)[:, None]
    scores -= scores.mean(0)  # seeds do nothing to all lines alike
    found = standing_of_means(scores.mean(1), scores.var(1, ddof=1), np.full(6, 4), lower=True)
    assert found.rank.tolist() == [1, 2, 3, 4, 5, 6]
    assert found.lowest.tolist() == [1, 2, 3, 4, 5, 6]
    one = standing_of_means(scores.mean(1), np.zeros(6), np.ones(6, np.int64), lower=True)
    assert one.rank.tolist() == [1] * 6
    assert one.tied.all()
    constant = standing_of_means(np.array([1.0, 1.0, 0.5]), np.zeros(3), np.full(3, 3), lower=False)
    assert constant.rank.tolist() == [1, 1, 3]


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, 2.0])
@pytest.mark.parametrize("spread", [0.0, 0.7])
@pytest.mark.parametrize("lines", [2, 5, 20])
@pytest.mark.parametrize("seeds", [3, 5])
def test_error_rates_of_means_alone(study: ModuleType, lines: int, seeds: int, spread: float, effect: float) -> None:
    wrong, _ = study.unpaired(lines, seeds, spread, 1000, effect=effect)
    limit = 0.07 if lines <= 5 else 0.05
    assert wrong <= limit + 2.5 * np.sqrt(limit * (1 - limit) / 1000)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.7])
@pytest.mark.parametrize("lines", [2, 5, 20, 50])
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_error_rates(study: ModuleType, lines: int, seeds: int, spread: float) -> None:
    tables = 2000
    wrong, pairs, whole = study.rank_errors(lines, seeds, spread, tables)
    limit = 0.07 if lines <= 5 else 0.05
    assert wrong <= limit + 2.5 * np.sqrt(limit * (1 - limit) / tables)
    if not spread and seeds == 3:
        assert pairs >= whole >= 0.7
