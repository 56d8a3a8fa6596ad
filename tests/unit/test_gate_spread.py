"""A metric of few seeds against how far these lie apart: what is seen, and how often nothing is called worse."""

from __future__ import annotations

import math

import numpy as np
import pytest

from finefuse.judge.gate.error_rate import SHARES, adjusted
from finefuse.judge.gate.questions import over_seeds
from finefuse.judge.gate.spread import Seeds, against, spreads
from helpers.gates import Pair, Rows, cells_of

LEVEL = 0.05 * SHARES["metric"]
SEEDS = 3


def alarms(lines: int, differ: float, worse: float = 0.0, *, shared: float = 0.0, times: int = 400) -> float:
    """In which share of comparisons a line is called worse; the first is `worse` by that share.

    Spreads of lines are 7 %, log-normal with `differ`, of whose variance both runs of a seed have `shared`.
    """
    rng, found = np.random.default_rng(0), 0
    for _ in range(times):
        scale = 0.07 * np.exp(rng.normal(0, differ, (lines, 1)))
        alike, *own = rng.normal(size=(3, lines, SEEDS))
        old, new = (1 + scale * (math.sqrt(shared) * alike + math.sqrt(1 - shared) * one) for one in own)
        new[0] += worse
        seeds = {i: Seeds(old[i].tolist(), new[i].tolist()) for i in range(lines)}
        apart = spreads(seeds)
        tests = [against(over_seeds((old[i] - new[i]).tolist(), ""), apart[i]) for i in range(lines)]
        found += min(adjusted([test.worse for test in tests], [0.0] * lines, LEVEL)) <= LEVEL
    return found / times


@pytest.mark.parametrize("lines", [1, 3, 14])
@pytest.mark.parametrize("differ", [0.0, 0.5, 1.0])
def test_where_nothing_changed_alarms_are_as_rare_as_they_should_be(lines: int, differ: float) -> None:
    assert alarms(lines, differ) <= LEVEL + 0.006  # of 400, three more than are expected


def test_half_as_much_again_is_seen_with_three_seeds() -> None:
    assert alarms(3, 0.5, 0.45, shared=0.5) >= 0.65
    assert alarms(14, 0.3, 0.45, shared=0.5) >= 0.65
    assert alarms(14, 0.3, 0.2, shared=0.9) < 0.5


def test_runs_that_are_the_same_tell_once_how_far_seeds_lie_apart() -> None:
    found = spreads({"same": Seeds([0.9, 1.0, 1.1], [0.9, 1.0, 1.1]), "other": Seeds([0.9, 1.0, 1.1], [1.0, 1.1, 1.2])})
    assert [found[name].deviation for name in ("same", "other")] == pytest.approx([0.1, 0.1])
    assert found["same"].freedom == 2 + 2
    assert found["other"].freedom == 4 + math.sqrt(2)


def test_one_seed_has_no_spread() -> None:
    assert spreads({"one": Seeds([1.0], [1.5])}) == {}
    tested = over_seeds([-0.5], "one seed")
    assert against(tested, None) == tested


def with_nll(pair: Pair, *, lines: int = 3) -> Rows:
    rows = cells_of(pair, np.random.default_rng(1), lines, SEEDS, 500)
    about = {"metrics": ["accuracy", "nll"], "better.nll": "lower"}
    return [row | about | {"test.nll": (0.47, 0.50, 0.53)[row["seed"]]} for row in rows]


def changed(rows: Rows, by: tuple[float, ...]) -> Rows:
    """The rows with an nll of line 1 that is larger by these shares, seed by seed, and a little other in all lines."""
    jitter = 0.01 * np.random.default_rng(2).normal(size=len(rows))
    own = [1 + by[row["seed"]] * (row["label"] == "line 1") for row in rows]
    return [
        row | {"test.nll": row["test.nll"] * float(share + little), "outputs": f"{row['outputs']} now"}
        for row, share, little in zip(rows, own, jitter, strict=True)
    ]


def test_an_nll_of_half_as_much_again_fails_though_accuracy_is_the_same(pair: Pair) -> None:
    """The shares are those of label smoothing in studies/gate, in which three differences tell nothing."""
    base = with_nll(pair)
    found = pair.compare(base, changed(base, (0.53, 0.52, 0.33)))
    (verdict,) = [one for one in found.verdicts if one.judgement == "regressed"]
    assert verdict.measure == "nll"
    assert verdict.cell.endswith("line 1")
    assert "times their spread" in verdict.reason
    assert not found.passed


@pytest.mark.parametrize("by", [(0.0, 0.0, 0.0), (0.05, -0.02, 0.03), (-0.53, -0.52, -0.33)])
def test_other_digits_and_what_is_better_pass(pair: Pair, by: tuple[float, ...]) -> None:
    base = with_nll(pair)
    assert pair.compare(base, changed(base, by)).passed
