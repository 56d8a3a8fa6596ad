from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from finefuse.judge.statistics import holm, matched_interval, mcnemar_exact, mean_interval, paired_interval

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12)


@given(VALUES, st.sampled_from([0.8, 0.95, 0.99]))
def test_mean_interval_is_students(values: list[float], level: float) -> None:
    mean, half = mean_interval(values, level)
    error = stats.sem(values)
    assert mean == pytest.approx(np.mean(values), abs=1e-9)
    assert half == pytest.approx(stats.t.ppf((1 + level) / 2, len(values) - 1) * error, rel=1e-6, abs=1e-9)


@given(VALUES, st.randoms())
def test_mean_interval_has_the_same_bits_in_any_order(values: list[float], random: object) -> None:
    shuffled = values.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert mean_interval(values) == mean_interval(shuffled)


def test_one_value_has_an_infinite_interval_and_none_no_mean() -> None:
    assert mean_interval([0.7]) == (0.7, math.inf)
    mean, half = mean_interval([])
    assert math.isnan(mean)
    assert half == math.inf


def test_equal_values_have_no_width() -> None:
    assert mean_interval([0.1, 0.1, 0.1]) == pytest.approx((0.1, 0.0))
    assert mean_interval([0.25] * 7) == (0.25, 0.0)


def test_nan_and_infinity_are_passed_on() -> None:
    assert math.isnan(mean_interval([0.5, math.nan])[0])
    assert mean_interval([0.5, math.inf])[0] == math.inf
    assert math.isnan(mean_interval([0.5, math.inf])[1])


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=10))
def test_paired_interval_is_the_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    a, b = map(list, zip(*pairs, strict=True))
    assume(np.std(np.subtract(a, b)) > 1e-6)
    mean, half = paired_interval(a, b)
    low, high = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx((low, high), abs=1e-9)


def test_pairs_with_nan_are_left_out() -> None:
    assert paired_interval([1, 2, math.nan, 5], [0, 1, 1, math.nan]) == (1.0, 0.0)
    assert paired_interval([math.nan], [1])[1] == math.inf


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        paired_interval([1, 2], [1])


def test_mcnemar_is_the_binomial_test() -> None:
    for b, c in itertools.product([0, 1, 2, 5, 9, 40], [0, 1, 3, 8, 41, 300]):
        expected = stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
        assert mcnemar_exact(b, c) == pytest.approx(expected, rel=1e-9)
        assert mcnemar_exact(c, b) == mcnemar_exact(b, c)


def test_mcnemar_counts_all_outcomes() -> None:
    for b, c in itertools.combinations_with_replacement(range(5), 2):
        gaps = [abs(b + c - 2 * sum(flips)) for flips in itertools.product([0, 1], repeat=b + c)]
        assert mcnemar_exact(b, c) == pytest.approx(np.mean([gap >= abs(b - c) for gap in gaps]))


def test_mcnemar_keeps_its_level() -> None:
    """Two equally good models: an exact test gives at most 5 % false alarms, and not many fewer."""
    rng = np.random.default_rng(0)
    discordant = rng.binomial(1797, 0.03, 4000)
    splits = rng.binomial(discordant, 0.5)
    alarms = np.mean([mcnemar_exact(b, n - b) <= 0.05 for b, n in zip(splits, discordant, strict=True)])
    assert 0.01 < alarms < 0.055


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_by_its_definition(ps: list[float]) -> None:
    """Adjusted below alpha exactly where stepping down from the smallest rejects at alpha."""
    adjusted = holm(ps)
    assert all(p <= a <= 1 for p, a in zip(ps, adjusted, strict=True))
    for alpha in (0.01, 0.05, 0.2):
        rejected = set()
        for step, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
            if ps[i] * (len(ps) - step) > alpha:
                break
            rejected.add(i)
        assert {i for i, a in enumerate(adjusted) if a <= alpha} == rejected


def test_holm_on_a_published_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.04]) == [0.04]


def test_matched_interval_by_hand() -> None:
    """Agresti and Min's formula with b = 5, c = 15, n = 98: half an example added to each cell."""
    low, high = matched_interval(5, 15, 98)
    half = 1.959964 * math.sqrt((5.5 + 15.5) - (15.5 - 5.5) ** 2 / 100) / 100
    assert (low, high) == pytest.approx((0.1 - half, 0.1 + half), rel=1e-6)


@pytest.mark.parametrize(("n", "lose", "win"), [(100, 0.02, 0.02), (500, 0.01, 0.03), (1797, 0.005, 0.005)])
def test_matched_interval_covers_the_truth(n: int, lose: float, win: float) -> None:
    rng = np.random.default_rng(0)
    draws = rng.multinomial(n, [lose, win, 1 - lose - win], size=2000)
    inside = [low <= win - lose <= high for low, high in (matched_interval(int(b), int(c), n) for b, c, _ in draws)]
    assert np.mean(inside) > 0.935


@given(st.integers(0, 50), st.integers(0, 50), st.integers(100, 5000))
def test_matched_interval_turns_with_its_arguments(b: int, c: int, n: int) -> None:
    low, high = matched_interval(b, c, n)
    assert low < high
    assert matched_interval(c, b, n) == pytest.approx((-high, -low))
