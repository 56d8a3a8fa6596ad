"""Where a series took a step: the best of all ways to cut it into parts of one level each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import special

from finefuse.judge.gate.calibration import Calibration, Setting
from finefuse.judge.gate.policy import Limit, Policy
from finefuse.judge.history.scatter import Scatter, scaled, scatter_of
from finefuse.judge.history.series import Series

EXACT = 1e-9
"""Amounts that differ by no more, as a share, are the same."""


@dataclass(frozen=True)
class Step:
    """A series has another level from its value number `at` on: `new` in place of `old`."""

    series: Series
    at: int
    old: float
    new: float

    @property
    def worse(self) -> bool:
        """Whether the measure became worse."""
        return (self.new > self.old) is self.series.measure.lower

    @property
    def point(self) -> int:
        """The number of the point that it begins with."""
        return self.series.points[self.at]


class Found(NamedTuple):
    """The steps of each series, by its number, and how many series changed and couldn't be tested."""

    steps: Mapping[int, Sequence[Step]]
    untested: int


def find_steps(
    series: Sequence[Series], policy: Policy, calibrated: Mapping[Setting, Calibration] | None = None
) -> Found:
    """The steps of each series that lie beyond the measure's limit.

    `alpha` is the chance of any false one in all of it, shared among the places where something changed. Of exact
    amounts every change is a step.
    """
    judged = {i: one for i, one in enumerate(series) if _limit(one, policy) and _changes(one)}
    scatters = {i: scatter_of(one, policy, calibrated or {}) for i, one in judged.items() if not _exact(one)}
    places = sum(len(_changes(series[i])) for i in scatters)
    found = {}
    for i, one in judged.items():
        starts = _tested(one, scatters[i], policy.alpha / places) if i in scatters else _changes(one)
        found[i] = [step for step in _steps(one, starts) if _matters(step, policy)]
    return Found(found, sum(math.isnan(scatter.deviation) for scatter in scatters.values()))


def cut(values: Sequence[float], penalty: float) -> list[int]:
    """Where the parts begin, but for the first, of the cut that costs least.

    A part costs its sum of squares about its mean, and each but the first the penalty: optimal partitioning (Jackson et
    al. 2005, arXiv:math/0309285), which is exact and takes n² steps.
    """
    n = len(values)
    centred = np.asarray(values) - np.mean(values)
    sums, squares = (np.concatenate(([0.0], np.cumsum(power))) for power in (centred, centred**2))
    best, last = np.zeros(n + 1), np.zeros(n + 1, int)
    best[0] = -penalty
    for end in range(1, n + 1):
        counts = end - np.arange(end)
        own = squares[end] - squares[:end] - (sums[end] - sums[:end]) ** 2 / counts
        costs = best[:end] + np.maximum(own, 0.0) + penalty
        last[end] = int(np.argmin(costs))
        best[end] = costs[last[end]]
    starts = []
    while (n := int(last[n])) > 0:
        starts.append(n)
    return starts[::-1]


def _exact(series: Series) -> bool:
    return not series.measure.metric and not series.measure.noisy


def _changes(series: Series) -> list[int]:
    pairs = enumerate(pairwise(series.values), 1)
    return [at for at, (old, new) in pairs if not math.isclose(old, new, rel_tol=EXACT)]


def _tested(series: Series, scatter: Scatter, p: float) -> list[int]:
    """Parts that one level explains worse than chance would with probability `p`."""
    if math.isnan(scatter.deviation):
        return []
    far = special.chdtri(1, p) if math.isinf(scatter.freedom) else special.fdtri(1, scatter.freedom, 1 - p)
    return cut(scaled(series), float(far) * scatter.deviation**2)


def _steps(series: Series, starts: Sequence[int]) -> Iterator[Step]:
    for at, (old, new) in zip(starts, pairwise(levels(series, starts).values()), strict=True):
        yield Step(series, at, old, new)


def levels(series: Series, starts: Sequence[int]) -> Mapping[int, float]:
    """The level of each part of a series, by the number of its first value: means, of times those of logarithms."""
    edges = [0, *starts, len(series.values)]
    return {a: _level(series, series.values[a:b]) for a, b in pairwise(edges)}


def _level(series: Series, values: Sequence[float]) -> float:
    if series.measure.noisy and all(value > 0 for value in values):
        return math.exp(math.fsum(map(math.log, values)) / len(values))
    return math.fsum(values) / len(values)


def _limit(series: Series, policy: Policy) -> Limit | None:
    """What doesn't matter of a measure, a share of the value where it may be of any size; None to leave it out."""
    measure = series.measure
    limit = policy.limit(measure.family)
    return policy.limit_of_values(measure.family) if limit and measure.metric and measure.lower else limit


def _matters(step: Step, policy: Policy) -> bool:
    limit = _limit(step.series, policy)
    return limit is not None and not limit.holds(step.old, step.new)
