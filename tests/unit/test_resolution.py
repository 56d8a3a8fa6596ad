"""What a table can tell apart, and how many seeds would settle its first place."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
import pytest

from finefuse.judge.board.leaderboard import make_leaderboard
from finefuse.judge.board.present import resolved
from finefuse.judge.noise import Noise, no_noise
from finefuse.judge.ranks import standing
from finefuse.judge.resolution import Resolution, resolution
from helpers.boards import line, runs


def found(scores: np.ndarray, noise: Noise | None = None) -> Resolution:
    n, noise = len(scores), noise or no_noise(len(scores))
    return resolution(standing(scores, np.zeros(n, np.int64), lower=False, noise=noise), scores, noise)


def table(gap: float, seeds: int) -> np.ndarray:
    """Six lines with a standard deviation of 1; the first is ahead by `gap`."""
    scores = np.random.default_rng(0).standard_normal((6, seeds))
    means = np.array([gap, 0, -1, -2, -3, -4.0])
    residuals = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    return means[:, None] + residuals / residuals.std() * math.sqrt((1 - 1 / 6) * (1 - 1 / seeds))


def test_as_many_seeds_as_it_says_would_settle_first_place() -> None:
    few = found(table(1.0, 3))
    assert (few.apart, few.neighbours, few.gap) == (0, 5, pytest.approx(1.0))
    assert 10 < few.seeds < 60
    assert found(table(1.0, round(1.3 * few.seeds))).seeds == 0
    assert found(table(1.0, round(0.6 * few.seeds))).seeds > 0


def test_more_seeds_do_not_settle_what_examples_leave_open() -> None:
    noise = Noise(np.full((6, 6), 1.0), *(np.zeros(shape) for shape in ((6, 6), (6, 6), 6, 6, 6)))
    assert math.isinf(found(table(1.0, 3), noise).seeds)
    assert math.isinf(found(table(0.0, 3)).seeds)


def test_with_one_seed_nothing_is_known() -> None:
    one = found(np.array([[3.0], [2.0], [1.0]]))
    assert (one.apart, one.neighbours) == (0, 2)
    assert math.isnan(one.needed)
    assert "Nothing can be told apart" in resolved(one)


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        (0.0, "First place is settled."),
        (7.0, "About 7 seeds in all would settle first place if the first two stay 0.0100 apart."),
        (math.inf, "More seeds would not settle first place if the first two stay 0.0100 apart."),
    ],
)
def test_it_is_told_in_a_sentence(seeds: float, text: str) -> None:
    told = resolved(Resolution(4, 0.025, 3, 1, 0.01, seeds))
    assert (
        told
        == f"1 of 3 neighbours can be told apart; two lines must differ by 0.0250 (the median of all pairs). {text}"
    )


def test_a_board_says_it_below_each_table(build: ModuleType) -> None:
    rows = [r for b in ("a", "b") for r in runs(build, "up", [0.9, 0.8, 0.85], backbone=b)]
    board = make_leaderboard("demo", [*rows, *runs(build, "down", [0.1, 0.0, 0.055], backbone="a")])
    assert set(board.resolutions) == {("digits", "a")}
    assert board.to_markdown().count("neighbours can be told apart") == 1


def test_two_seeds_with_the_same_bits_have_an_interval(build: ModuleType) -> None:
    right = [i % 7 > 0 for i in range(153)]
    bits = {"correct": build.bits(right), "n_test": 153}
    board = make_leaderboard("demo", runs(build, "full", [sum(right) / 153] * 2, **bits))
    assert line(board, "full")["test.accuracy.half"] == 0
    assert 0.05 < line(board, "full")["interval"] < 0.11
    assert "± 0.0000" not in board.to_markdown()
