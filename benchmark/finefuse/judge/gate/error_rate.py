"""The chance of any false alarm over all tests of a comparison: how alpha is divided, and how p-values grow."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Literal

from finefuse.judge.statistics import holm

Level = Literal["examples", "metric", "time"]
SHARES: Mapping[Level, float] = {"examples": 0.8, "metric": 0.1, "time": 0.1}
"""How alpha is divided: results per example; other metrics, over seeds; seconds and memory, against noise."""
IN_PAIRS: Mapping[Level, float] = {"examples": 0.65, "metric": 0.1, "time": 0.25}
"""The same where runs were repeated in pairs, so that times can be told."""


def countable(least: Sequence[float], alpha: float) -> list[int]:
    """The tests that count: the others' smallest possible p-value can't be significant, whatever comes out.

    Tarone 1990, doi 10.2307/2531456: with the smallest k such that at most k tests can reach alpha / k, these are all.
    """
    ordered = sorted(least)
    for k in range(1, len(least) + 1):
        if bisect_right(ordered, alpha / k) <= k:
            return [i for i, p in enumerate(least) if p <= alpha / k]
    return []


def adjusted(ps: Sequence[float], least: Sequence[float], alpha: float) -> list[float]:
    """P-values after the correction: at most alpha only where any false alarm has at most that chance.

    Tarone's exclusion, then Holm's method for those that count; the others get 1.
    """
    able, found = countable(least, alpha), [1.0] * len(ps)
    for i, p in zip(able, holm([ps[i] for i in able]), strict=True):
        found[i] = p
    return found
