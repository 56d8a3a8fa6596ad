"""The arithmetic of ranks and intervals in the page is that of finefuse.judge."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from finefuse.judge.intervals import score_half
from finefuse.judge.noise import Noise
from finefuse.judge.ranks import standing
from finefuse.judge.statistics import mcnemar_exact, mean_interval
from finefuse.judge.studentised import range_quantile
from helpers.scripts import Script


@pytest.fixture(scope="module")
def ranks() -> Script:
    return Script("ranks")


def tables(seed: int) -> Iterator[tuple[dict[str, Any], Noise]]:
    """Tables of many kinds: few lines and many, equal and unequal, with gaps, ties, classes, with examples or not."""
    rng = np.random.default_rng(seed)
    while True:
        lines, seeds = int(rng.choice([1, 2, 3, 5, 9, 20, 50])), int(rng.choice([1, 2, 3, 5, 10]))
        spread = np.exp(rng.choice([0, 0.7, 2]) * rng.standard_normal((lines, 1)))
        scores = spread * rng.standard_normal((lines, seeds)) + rng.choice([0, 3, 10]) * rng.standard_normal((lines, 1))
        scores += rng.standard_normal(seeds)
        kind = rng.choice(["plain", "rounded", "gaps", "equal"])
        n = int(rng.choice([0, 20, 500]))
        if kind == "rounded" and n:
            scores = np.round(special.expit(scores) * n) / n
        elif kind == "equal":
            scores[:] = rng.standard_normal(seeds)
        elif kind == "gaps":
            scores[rng.random(scores.shape) < 0.3] = np.nan
        classes = rng.choice([-1, 0, 0, 0, 0, 1, 2], lines) if rng.random() < 0.2 else np.zeros(lines, int)
        scores[classes != 0] = np.nan
        scale = float(rng.choice([0, 0.05, 1]))
        square = [scale * (part + part.T) * (1 - np.eye(lines)) for part in rng.random((2, lines, lines))]
        flat = np.zeros(lines)
        noise = Noise(square[0], square[1], square[1], flat, flat, flat)
        step = 1 / n if n and kind == "rounded" else 0.0
        lower = bool(rng.random() < 0.5)
        yield {"scores": scores, "classes": classes, "lower": lower, "step": step}, noise


def check(ranks: Script, seed: int, count: int) -> None:
    call = "standing(scores, classes, lower, (i, j) => shared[i][j], (i, j) => least[i][j], step)"
    found_apart = 0
    for (table, noise), _ in zip(tables(seed), range(count), strict=False):
        expected = standing(table["scores"], table["classes"], lower=table["lower"], noise=noise, step=table["step"])
        given = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in table.items()}
        found = ranks(call, **given, shared=noise.shared.tolist(), least=noise.least.tolist())
        off = ~np.eye(len(table["scores"]), dtype=bool)
        if expected.spread.common > 1e-20:  # where lines vary alike, Python's residuals are rounding, and 0 in the page
            np.testing.assert_allclose(np.array(found["needed"])[off], expected.needed[off], rtol=1e-5)
        np.testing.assert_allclose(found["difference"], expected.difference, rtol=1e-9, atol=1e-12)
        for name in ("rank", "lowest", "tied", "apart"):
            assert found[name] == getattr(expected, name).tolist(), (name, table)
        found_apart += int(expected.apart.sum())
    assert found_apart > count  # else equal ranks say nothing


def test_ranks_of_random_tables_are_those_of_python(ranks: Script) -> None:
    check(ranks, 0, 60)


@pytest.mark.slow
def test_ranks_of_1000_random_tables_are_those_of_python(ranks: Script) -> None:
    check(ranks, 1, 1000)


@pytest.mark.parametrize("means", [2, 3, 5, 20, 50, 200])
def test_quantiles_are_those_of_python(ranks: Script, means: int) -> None:
    freedoms = [0.5, 0.73, 1, 2.5, 6.3, 20, 117.25, 3000, math.inf]
    found = ranks("freedoms.map((freedom) => rangeQuantile(means, freedom))", means=means, freedoms=freedoms)
    assert found == pytest.approx([range_quantile(means, freedom) for freedom in freedoms], rel=1e-7)


def test_functions_of_statistics_are_scipys(ranks: Script) -> None:
    def values(call: str, xs: list[float]) -> list[float]:
        found: list[float] = ranks(f"xs.map((x) => {call})", xs=xs)
        return found

    xs = [1e-9, 1e-3, 0.1, 0.49, 0.5, 1.0, 2.0, 3.5, 10.0, 40.0]
    shares = [1e-9, 1e-4, 0.025, 0.3, 0.5, 0.77, 0.975, 1 - 1e-9]
    assert values("logGamma(x)", xs) == pytest.approx(special.gammaln(xs), rel=1e-12, abs=1e-13)
    assert values("normal(x)", [-x for x in xs] + xs) == pytest.approx(stats.norm.cdf([-x for x in xs] + xs), abs=1e-14)
    assert values("inverseNormal(x)", shares) == pytest.approx(stats.norm.ppf(shares), rel=1e-7, abs=1e-12)
    for a in (0.25, 0.5, 1.0, 3.25, 60.0):
        assert values(f"gammaP({a}, x)", xs) == pytest.approx(special.gammainc(a, xs), rel=1e-11, abs=1e-14)
        found = values(f"inverseGammaP({a}, x)", shares)
        assert found == pytest.approx(special.gammaincinv(a, shares), rel=1e-7)
    for freedom in (0.5, 1.1, 2.0, 5.1, 30.0, 1e4):
        assert ranks("studentQuantile(f)", f=freedom) == pytest.approx(special.stdtrit(freedom, 0.975), rel=1e-10)
        assert values(f"studentTails({freedom}, x)", xs) == pytest.approx(2 * stats.t.sf(xs, freedom), rel=1e-9)
    for b, c in [(0, 0), (0, 1), (3, 9), (5, 5), (200, 260), (0, 40)]:
        assert ranks("mcnemar(b, c)", b=b, c=c) == pytest.approx(mcnemar_exact(b, c), rel=1e-9)


def test_intervals_are_those_of_python(ranks: Script) -> None:
    rng = np.random.default_rng(2)
    for n in (1, 2, 3, 5, 10):
        for _ in range(10):
            scores = (0.9 + 0.05 * rng.standard_normal(n)).tolist()
            shared, least, single = (float(v) for v in rng.choice([0, 1e-4, 1e-3, 0.01], 3))
            single = math.nan if rng.random() < 0.2 else single
            found = ranks("scoreHalf(scores, ...parts)", scores=scores, parts=[shared, least, single])
            assert found == pytest.approx(score_half(np.array(scores), shared, least, single), rel=1e-9)
    assert ranks("scoreHalf([0.5, 0.5], 0, 0, NaN)") == math.inf
    assert ranks("scoreHalf([0.5, NaN], 0, 0, 1)") == math.inf
    mean, half = mean_interval([0.1, 0.4, 0.2])
    assert ranks("student([0.1, 0.4, 0.2])") == pytest.approx({"mean": mean, "half": half})
