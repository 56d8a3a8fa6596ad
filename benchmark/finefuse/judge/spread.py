"""How much the lines of a table vary over seeds: variances from few values each, shrunk towards their common one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Prior:
    """How many degrees of freedom an expected variance may be worth, and how far each number is believed beforehand."""

    freedoms: Floats
    chances: Floats

    def after(self, ratios: Floats, freedom: Floats, scales: Floats) -> Floats:
        """How far each is believed after variances (n,), each worth `freedom` (n,), over the one expected of them.

        The ratios follow F (Bayes' rule). Only their spread counts: the expected variance may be wrong by any of
        `scales`.
        """
        d, f = self.freedoms[:, None], freedom[:, None, None]
        x = np.maximum(ratios, _LEAST)[:, None, None] / scales
        density = f / 2 * np.log(f / d) - special.betaln(f / 2, d / 2) - np.log(scales)
        density = density + (f / 2 - 1) * np.log(x) - (f + d) / 2 * np.log1p(f * x / d)
        logs = density.sum(0)
        believed = np.exp(logs - logs.max()).sum(1) * self.chances
        found: Floats = believed / believed.sum()
        return found


COMMON = Prior(np.array([1.0, 2, 4, 8, 16, 64]), np.array([1, 1, 1, 0.5, 0.25, 0.1]) / 3.85)
"""Of the common variance of all lines: few where lines vary differently. Too many tell lines apart that are equal."""
_SCALES = np.geomspace(0.1, 3, 12)
_LEAST = 1e-4
"""Variances below this share of the common one count as this: how far below it they are says nothing."""


@dataclass(frozen=True)
class Spread:
    """Variances of lines over seeds: each one's `own`, worth `freedom`, both (lines,), and the `common` one.

    `weights` says how far each of the degrees of freedom in `COMMON` is believed.
    """

    own: Floats
    freedom: Floats
    common: float
    weights: Floats

    @property
    def total(self) -> float:
        """The degrees of freedom of all lines together: more than these the common variance is never worth."""
        return float(self.freedom.sum())

    def shrunk(self, prior: float) -> Floats:
        """The variances if the common one is worth `prior` degrees of freedom, (lines,)."""
        weight = prior + self.freedom
        found: Floats = (prior * self.common + self.freedom * self.own) / weight
        return found

    def worth(self, prior: float) -> Floats:
        """The degrees of freedom of the shrunk variances, (lines,)."""
        return np.minimum(prior + self.freedom, self.total)

    def believed(self, of: Callable[[float], Floats]) -> Floats:
        """The mean of what follows from each worth of the common variance, by how far it is believed."""
        return sum((weight * of(d) for d, weight in zip(COMMON.freedoms, self.weights, strict=True)), np.zeros(()))


def spread_of(scores: Floats) -> Spread:
    """The spread of scores (lines, seeds) about line means and seed effects; NaN where there is no score.

    A line with a single score has none of its own. The two effects are fitted by least squares, and each line's
    squared residuals are divided by the degrees of freedom that the fit leaves them.
    """
    there = np.isfinite(scores)
    residuals, left = _two_way(np.where(there, scores, 0.0), there.astype(float))
    freedom = np.where(there.sum(1) > 1, left.sum(1), 0.0)
    freedom[freedom < 1e-9] = 0.0
    squares = (residuals**2).sum(1)
    return spread_of_variances(np.divide(squares, freedom, out=np.zeros_like(squares), where=freedom > 0), freedom)


def spread_of_variances(own: Floats, freedom: Floats) -> Spread:
    """The spread of lines whose variances over seeds are known, each worth `freedom`; both (lines,)."""
    common = float(own @ freedom / freedom.sum()) if freedom.any() else 0.0
    return Spread(own, freedom, common, _weights(own, freedom, common))


def _two_way(scores: Floats, there: Floats) -> tuple[Floats, Floats]:
    """The residuals, and the share of each score's variance that is left in its residual; both (lines, seeds)."""
    count = np.maximum(there.sum(1), 1)[:, None]
    shares = there / count
    centred = there * (scores - (scores * there).sum(1, keepdims=True) / count)
    laplacian = np.diag(there.sum(0)) - there.T @ shares
    inverse = np.linalg.pinv(laplacian, rcond=1e-10, hermitian=True)  # it is singular, but for rounding
    effects = inverse @ centred.sum(0)
    residuals = there * (centred - effects + (shares @ effects)[:, None])
    spent = np.diag(inverse) - 2 * shares @ inverse + ((shares @ inverse) * shares).sum(1, keepdims=True)
    return residuals, there * (1 - 1 / count - spent)


def _weights(own: Floats, freedom: Floats, common: float) -> Floats:
    """How far each number of degrees of freedom of the common variance is believed."""
    used = freedom > 0
    if common <= 0:
        return COMMON.chances
    return COMMON.after(own[used] / common, freedom[used], _SCALES)
