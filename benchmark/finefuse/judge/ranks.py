"""Which lines of one table can be told apart, and the ranks that follow, with an error rate for the whole table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finefuse.judge.noise import Noise, no_noise
from finefuse.judge.spread import Spread, spread_of, spread_of_variances
from finefuse.judge.studentised import range_quantile

Floats = NDArray[np.float64]
ROUNDING = 1e-9
"""The share of the largest score below which a difference is one of rounding."""
HALVES = 1e-7
"""Added to degrees of freedom before they are rounded, so that no half goes by its last bit."""


@dataclass(frozen=True)
class Standing:
    """How the lines of one table stand, in the order they were given.

    `rank` (lines,) is 1 plus the number of lines that are better and told apart; `tied` says that another line has the
    same. `lowest` is the number of lines less those that are worse and told apart: the true ranks of all lines lie
    between the two in 95 % of tables (Al Mohamad, Goeman and van Zwet, arXiv 1708.02428). `apart` (lines, lines) says
    which pairs are told apart, and `better` that the row is the better one; `difference` is their mean difference over
    the seeds that both have (row minus column), and `needed` how large it must be: infinite where nothing can tell.
    """

    rank: NDArray[np.int64]
    lowest: NDArray[np.int64]
    tied: NDArray[np.bool_]
    apart: NDArray[np.bool_]
    better: NDArray[np.bool_]
    difference: Floats
    needed: Floats
    spread: Spread


def standing(scores: Floats, classes: NDArray[np.int64], *, lower: bool, noise: Noise, step: float = 0.0) -> Standing:
    """How lines stand by their finite scores (lines, seeds), NaN where there is none.

    Of lines that are truly equal, at most about 5 % of tables tell any apart: a pair differs if the mean difference
    over its seeds exceeds the 95 % quantile of the studentised range of all lines, with the shrunk variances of
    `spread_of`. `noise` adds what the test examples leave open, and `step` is the smallest difference that a score can
    show. Lines of a lower class are better than all of a higher one, whatever their scores.
    """
    spread = spread_of(scores)
    difference, common = paired_means(scores)
    needed = _needed(spread, common, noise, step)
    needed = np.maximum(needed, ROUNDING * np.abs(scores[np.isfinite(scores)]).max(initial=0.0))
    return _standing(difference, needed, classes, spread, lower=lower)


def standing_of_means(means: Floats, variances: Floats, seeds: NDArray[np.int64], *, lower: bool) -> Standing:
    """How lines stand by their means, variances over seeds and numbers of seeds, all (lines,): no more is known.

    The same rule, but no line is paired with another by seed, so the variances hold the seeds' effects too. Fewer are
    told apart, and of equal lines no more, unless lines are negatively correlated. What the test examples leave open
    is not in it.
    """
    freedom = np.maximum(seeds - 1.0, 0.0)
    spread = spread_of_variances(np.where(freedom > 0, variances, 0.0), freedom)
    needed = _needed(spread, np.minimum(seeds[:, None], seeds).astype(float), no_noise(len(means)), 0.0)
    needed = np.maximum(needed, ROUNDING * np.abs(means).max(initial=0.0))
    return _standing(means[:, None] - means, needed, np.zeros(len(means), np.int64), spread, lower=lower)


def _standing(
    difference: Floats, needed: Floats, classes: NDArray[np.int64], spread: Spread, *, lower: bool
) -> Standing:
    """The standing that follows from the differences and from how large they must be, both (lines, lines)."""
    other = classes[:, None] != classes
    apart = other | (np.abs(difference) > needed)
    better = np.where(other, classes[:, None] < classes, (difference < 0) == lower)
    rank = 1 + (apart & better).sum(0)
    lowest = len(rank) - (apart & ~better).sum(0)
    tied = (rank[:, None] == rank).sum(0) > 1
    return Standing(rank, lowest, tied, apart, apart & better, difference, needed, spread)


def paired_means(scores: Floats) -> tuple[Floats, Floats]:
    """The mean difference of every pair of lines over the seeds both have, and the number of these; (lines, lines)."""
    there = np.isfinite(scores)
    values, common = np.where(there, scores, 0.0), there.astype(float) @ there.T.astype(float)
    sums = values @ there.T
    return np.divide(sums - sums.T, common, out=np.zeros_like(sums), where=common > 0), common


def _needed(spread: Spread, common: Floats, noise: Noise, step: float) -> Floats:
    """By how much two lines must differ: what seeds leave open and what examples do, as squares."""
    lines = max(int((spread.freedom > 0).sum()), 2)
    known = (spread.freedom > 0) & (spread.freedom > 0)[:, None] & (common > 1)
    seeds = np.maximum(common, 1)

    def by_seeds(prior: float) -> Floats:
        shrunk = spread.shrunk(prior)
        freedoms, which = np.unique(np.round(spread.worth(prior) + HALVES, 2), return_inverse=True)
        quantiles = np.array([range_quantile(lines, max(freedom, 0.5)) for freedom in freedoms])[which]
        variance = np.maximum(shrunk + shrunk[:, None], np.maximum(noise.least, step**2 / 6))
        found: Floats = np.maximum(quantiles, quantiles[:, None]) * np.sqrt(variance / seeds / 2)
        return found

    by_examples = range_quantile(lines, np.inf) ** 2 * noise.shared / 2
    return np.where(known, np.sqrt(spread.believed(by_seeds) ** 2 + by_examples), np.inf)
