"""Intervals of scores, from seeds and test examples together, and what single examples leave open."""

from __future__ import annotations

import base64
import math
from types import ModuleType

import numpy as np
import pytest

from finefuse.errors import StoreError
from finefuse.judge.intervals import score_half
from finefuse.judge.noise import Noise, noise_of
from finefuse.judge.outcomes import score_step, table_noise
from finefuse.judge.statistics import mean_interval
from finefuse.types import Record

# ---------------------------------------------------------------------------------------------- single examples


def crossed(right: np.ndarray, *, same: bool = True) -> Noise:
    """The noise of right answers (seeds, lines, examples)."""
    lines = right.shape[1]
    return noise_of([(range(lines), seed.astype(np.float32)) for seed in right], lines, same=same)


def test_equal_seeds_leave_all_of_the_examples_noise() -> None:
    right = np.random.default_rng(0).random((1, 2, 153)) < 0.8
    noise = crossed(np.repeat(right, 3, 0))
    difference = right[0, 0].astype(float) - right[0, 1]
    assert noise.shared[0, 1] == pytest.approx(difference.var(ddof=1) / 153, rel=1e-4)
    assert noise.own_shared[0] == pytest.approx(right[0, 0].var(ddof=1) / 153, rel=1e-4)
    assert noise.least[0, 1] == pytest.approx(0, abs=1e-9)


def test_examples_that_only_vary_by_seed_share_nothing() -> None:
    right = np.random.default_rng(1).random((5, 2, 2000)) < 0.8
    noise = crossed(right)
    assert noise.own_shared[0] < 0.2 * 0.16 / 2000
    assert noise.own_least[0] == pytest.approx(0.16 / 2000, rel=0.1)
    assert noise.own_single[0] == pytest.approx(0.16 / 2000, rel=0.1)


def test_the_parts_are_those_of_the_analysis_of_variance() -> None:
    values = np.random.default_rng(2).standard_normal((4, 1, 30)) + np.random.default_rng(3).standard_normal((1, 1, 30))
    noise = crossed(values)
    cells = values[:, 0]
    residual = cells - cells.mean(0) - cells.mean(1, keepdims=True) + cells.mean()
    error = (residual**2).sum() / (3 * 29)
    between = 4 * cells.mean(0).var(ddof=1)
    assert noise.own_shared[0] == pytest.approx((between - error) / 4 / 30, rel=1e-4)
    assert noise.own_least[0] == pytest.approx(error / 30, rel=1e-4)


def test_other_examples_in_each_seed_share_nothing() -> None:
    right = np.random.default_rng(4).random((3, 2, 500)) < 0.8
    noise = crossed(right, same=False)
    assert not noise.shared.any()
    assert noise.least[0, 1] == pytest.approx(np.mean([(s[0] * 1.0 - s[1]).var(ddof=1) for s in right]) / 500, rel=1e-4)


def rows_of(build: ModuleType, label: str, right: np.ndarray, **fields: object) -> list[Record]:
    """One row per seed with these right answers (seeds, examples)."""
    return [
        build.row(
            label=label,
            seed=seed,
            **{"correct": build.bits(one), "n_test": len(one), "test.accuracy": float(one.mean())} | fields,
        )
        for seed, one in enumerate(right)
    ]


def test_bits_count_where_the_score_is_their_share(build: ModuleType) -> None:
    right = np.random.default_rng(5).random((2, 3, 77)) < 0.7
    lines = [rows_of(build, f"line{i}", seeds) for i, seeds in enumerate(right)]
    assert table_noise(lines, "accuracy").own_single == pytest.approx(crossed(right.swapaxes(0, 1)).own_single)
    assert np.isnan(table_noise(lines, "nll").own_single).all()
    assert score_step(lines, "accuracy") == 1 / 77
    assert score_step(lines, "nll") == 0.0


def test_rows_without_bits_have_no_part_in_it(build: ModuleType) -> None:
    right = np.random.default_rng(6).random((3, 50)) < 0.7
    noise = table_noise([rows_of(build, "a", right), rows_of(build, "b", right, correct=None)], "accuracy")
    assert np.isfinite(noise.own_single[0])
    assert np.isnan(noise.own_single[1])
    assert noise.shared[0, 1] == 0


def test_only_equal_examples_are_paired(build: ModuleType) -> None:
    right = np.random.default_rng(7).random((2, 60)) < 0.7
    one, two = rows_of(build, "a", right), rows_of(build, "b", right, examples="others")
    noise = table_noise([one, two], "accuracy")
    assert noise.least[0, 1] == 0
    assert (noise.own_single > 0).all()


@pytest.mark.parametrize("root", [False, True])
def test_losses_count_where_the_score_is_their_mean_or_its_root(build: ModuleType, root: bool) -> None:
    losses = np.random.default_rng(8).exponential(size=200).astype("<f4")
    score = math.sqrt(losses.mean()) if root else float(losses.mean())
    fields = {"metrics": ["m"], "better.m": "lower", "test.m": score, "correct": None, "n_test": 200}
    row = build.row(losses=base64.b64encode(losses.tobytes()).decode(), **fields)
    noise = table_noise([[row]], "m")
    scale = 2 * score if root else 1.0
    assert noise.own_single[0] == pytest.approx(losses.var(ddof=1, dtype=float) / 200 / scale**2, rel=1e-3)


def test_a_line_that_diverged_hides_no_difference(build: ModuleType) -> None:
    losses = np.random.default_rng(8).exponential(size=(2, 3, 50)) * np.array([1, 1e20])[:, None, None]
    drafts = [
        [
            build.row(
                **{"label": label, "seed": seed, "metrics": ["m"], "better.m": "lower", "correct": None, "n_test": 50},
                losses=base64.b64encode(one.astype("<f4").tobytes()).decode(),
                **{"test.m": float(one.astype("<f4").mean(dtype=float))},
            )
            for seed, one in enumerate(line)
        ]
        for label, line in zip("ab", losses, strict=True)
    ]
    noise = table_noise(drafts, "m")
    assert np.isfinite(noise.least).all()
    assert np.isfinite(noise.own_single).all()


@pytest.mark.parametrize("damaged", ["?", "AAAA"])
def test_damaged_bits_are_told(build: ModuleType, damaged: str) -> None:
    with pytest.raises(StoreError, match="correct"):
        table_noise([[build.row(correct=damaged)]], "accuracy")


# ---------------------------------------------------------------------------------------------- intervals


def half(scores: list[float], shared: float = 0.0, least: float = 0.0, single: float = math.nan) -> float:
    return score_half(np.array(scores), shared, least, single)


def test_one_seed_has_the_interval_of_its_examples() -> None:
    assert half([0.85], single=0.85 * 0.15 / 153) == pytest.approx(0.0566, abs=1e-4)
    assert half([0.85], single=0.0009) == pytest.approx(1.95996 * 0.03, rel=1e-4)
    assert math.isinf(half([0.85]))


def test_two_equal_seeds_are_not_certain() -> None:
    variance = 0.85 * 0.15 / 153
    assert 0.056 < half([0.85, 0.85], shared=variance, single=variance) < 0.1
    assert math.isinf(half([0.85, 0.85]))


def test_two_seeds_are_not_hopeless_where_examples_tell_more() -> None:
    variance, scores = 0.85 * 0.15 / 153, [0.83, 0.87]
    assert mean_interval(scores)[1] > 0.25
    assert half(scores, least=variance, single=variance) < 0.11


def test_seeds_that_vary_much_more_than_examples_are_believed() -> None:
    assert half([0.2, 0.5, 0.8], single=1e-6) > 0.8 * mean_interval([0.2, 0.5, 0.8])[1]


def test_without_examples_it_is_students() -> None:
    assert half([0.7, 0.8, 0.85]) == mean_interval([0.7, 0.8, 0.85])[1]


def test_it_is_never_less_than_examples_alone_make_it() -> None:
    assert half([0.8] * 10, shared=1e-4, least=4e-4, single=5e-4) >= 1.95996 * math.sqrt(1e-4 + 4e-5)


def test_what_is_not_finite_or_never_wrong_has_none() -> None:
    assert math.isinf(half([0.8, math.inf], single=0.1))
    assert math.isinf(half([], single=0.1))
    assert math.isinf(half([1.0, 1.0], single=0.0))


@pytest.mark.parametrize(("seeds", "ratio", "same"), [(2, 1.0, True), (2, 0.0, False), (3, 2.0, True)])
def test_intervals_hold(study: ModuleType, seeds: int, ratio: float, same: bool) -> None:
    held, width = study.coverage(seeds, ratio, same=same, lines=400)
    assert held >= 0.92
    assert width < 2.7


@pytest.mark.slow
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_coverage(study: ModuleType, seeds: int, ratio: float, same: bool) -> None:
    held, width = study.coverage(seeds, ratio, same=same, lines=3000)
    assert held >= 0.93
    assert width < 2.7
