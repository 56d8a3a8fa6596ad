"""Intervals and tests: Student's t over seeds, McNemar over test examples, Holm over cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from scipy import special


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The mean of values and half the width of its Student t interval.

    Half the width is infinite for fewer than two values. Without values the mean is NaN.
    """
    n = len(values)
    if not n:
        return math.nan, math.inf
    mean = _sum(values) / n
    if n == 1:
        return mean, math.inf
    deviation = math.sqrt(_sum([(value - mean) ** 2 for value in values]) / (n - 1))
    return mean, _quantile(n - 1, level) * deviation / math.sqrt(n)


def paired_interval(a: Sequence[float], b: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The mean of a - b over pairs and half the width of its Student t interval; pairs with a NaN are left out."""
    differences = [x - y for x, y in zip(a, b, strict=True)]
    return mean_interval([d for d in differences if not math.isnan(d)], level)


def paired_p(differences: Sequence[float]) -> float:
    """The two-sided p-value of Student's t test that the mean of paired differences is 0."""
    mean, half = mean_interval(differences)
    if math.isinf(half):  # of one pair
        return 1.0
    if not half:
        return 0.0 if mean else 1.0
    freedom = len(differences) - 1
    return 2 * float(special.stdtr(float(freedom), -abs(mean) / half * _quantile(freedom, 0.95)))


def mcnemar_exact(b: int, c: int) -> float:
    """The two-sided p-value of McNemar's exact test: `b` and `c` are how many examples only one of two gets right.

    McNemar 1947, doi 10.1007/BF02295996; exact by the binomial distribution with one half.
    """
    return min(1.0, 2 * float(special.bdtr(float(min(b, c)), b + c, 0.5))) if b + c else 1.0


def matched_interval(b: int, c: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The difference (c - b) / n of two accuracies on the same `n` examples, as (low, high).

    Wald's interval with half an example added to each of the four cells, which keeps its level where few examples
    differ: Agresti & Min 2005, doi 10.1002/sim.1781.
    """
    only_b, only_c, total = b + 0.5, c + 0.5, n + 2
    centre = (only_c - only_b) / total
    deviation = math.sqrt((only_b + only_c) / total - centre**2) / math.sqrt(total)
    half = float(special.ndtri((1 + level) / 2)) * deviation
    return centre - half, centre + half


def share_interval(share: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share of `n` examples, as (low, high): Wilson 1927, doi 10.1080/01621459.1927.10502953.

    NaN for no examples.
    """
    if not n:
        return math.nan, math.nan
    z = float(special.ndtri((1 + level) / 2))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def holm(ps: Sequence[float]) -> list[float]:
    """P-values adjusted for their number: below alpha only if the chance of any false alarm is (Holm 1979)."""
    adjusted = [1.0] * len(ps)
    highest = 0.0
    for done, i in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, ps[i] * (len(ps) - done))
        adjusted[i] = min(1.0, highest)
    return adjusted


def _sum(values: Sequence[float]) -> float:
    """Exactly rounded, so that it doesn't depend on the order."""
    return math.fsum(values) if all(map(math.isfinite, values)) else sum(values)


@lru_cache(maxsize=1024)
def _quantile(freedom: int, level: float) -> float:
    return float(special.stdtrit(float(freedom), (1 + level) / 2))
