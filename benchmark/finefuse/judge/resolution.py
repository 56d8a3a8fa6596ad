"""What a table can tell apart at all, and how many seeds would settle its first place."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from finefuse.judge.noise import Noise
from finefuse.judge.ranks import Standing
from finefuse.judge.spread import COMMON, Spread
from finefuse.judge.studentised import range_quantile

Floats = NDArray[np.float64]
SEEDS = tuple(dict.fromkeys(int(n) for n in np.geomspace(3, 200, 36)))
"""Numbers of seeds that are tried."""


class Resolution(NamedTuple):
    """What one table can tell apart.

    `needed` is by how much two of its lines must differ, the median over all pairs, NaN if nothing can tell. Of
    `neighbours` pairs of lines that follow each other, `apart` are told apart. `gap` is between the first and the
    second line, and `seeds` how many seeds in all would tell the two apart if it stays: 0 if they are apart, infinite
    if more than are tried, or any number, would not do.
    """

    lines: int
    needed: float
    neighbours: int
    apart: int
    gap: float
    seeds: float


def resolution(found: Standing, scores: Floats, noise: Noise) -> Resolution:
    """The resolution of a table whose lines are given best first, at least two of them with finite scores."""
    used = np.flatnonzero(np.isfinite(scores).any(1))
    pairs = found.needed[np.ix_(used, used)][np.triu_indices(len(used), 1)]
    known = pairs[np.isfinite(pairs)]
    needed = float(np.median(known)) if len(known) else math.nan
    first, second = used[0], used[1]
    gap = abs(float(found.difference[first, second]))
    apart = int(found.apart[used[:-1], used[1:]].sum())
    seeds = 0.0 if found.apart[first, second] else _seeds_for(gap, found.spread, noise, (first, second))
    return Resolution(len(used), needed, len(used) - 1, apart, gap, seeds)


def _seeds_for(gap: float, spread: Spread, noise: Noise, pair: tuple[int, int]) -> float:
    """How many seeds in all would tell a pair of lines apart that stays as far apart and as noisy as it is."""
    if not (spread.freedom > 0).any():
        return math.inf
    lines = max(int((spread.freedom > 0).sum()), 2)
    shared = range_quantile(lines, math.inf) ** 2 * float(noise.shared[pair]) / 2
    if gap**2 <= shared:
        return math.inf
    chosen = list(pair)
    freedom = max(float(spread.freedom[chosen].max()), 0.5)
    seeds_now = 1 + freedom * lines / (lines - 1)
    for seeds in (n for n in SEEDS if n > seeds_now):
        worth = freedom * (seeds - 1) / (seeds_now - 1)
        half = 0.0
        for prior, weight in zip(COMMON.freedoms, spread.weights, strict=True):
            variance = max(float(spread.shrunk(prior)[chosen].sum()), float(noise.least[pair]))
            quantile = range_quantile(lines, round(min(prior + worth, worth * lines), 1))
            half += weight * quantile * math.sqrt(variance / seeds / 2)
        if gap**2 > half**2 + shared:
            return float(seeds)
    return math.inf
