"""How far a score may lie from the mean that a table shows: what seeds say and what test examples say, combined."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from finefuse.judge.spread import Prior
from finefuse.judge.statistics import mean_interval

Floats = NDArray[np.float64]
EXPECTED = Prior(np.array([0.1, 1.0, 4.0]), np.array([0.4, 0.4, 0.2]))
"""Of the variance over seeds that the test examples let expect: it hardly counts if the seeds contradict it."""
TWICE = 2.0
"""The expected variance over seeds, in that of a score among samples of test examples."""


def score_half(scores: Floats, shared: float, least: float, single: float, level: float = 0.95) -> float:
    """Half the width of the interval of a line's mean score (seeds,); infinite if nothing tells.

    `shared`, `least` and `single` are a line's variances in `Noise`. Few seeds tell little about their variance, so it
    is shrunk towards twice `single`, as far as the seeds agree with that, and is never less than `least`; `shared` is
    added. With one seed the interval is that of the test examples alone. Without results by example it is Student's.
    """
    n, z = len(scores), float(special.ndtri((1 + level) / 2))
    if not np.isfinite(scores).all() or not n:
        return math.inf
    if math.isnan(single):
        _, half = mean_interval(scores.tolist(), level)
        return half or math.inf  # seeds that are equal say nothing about how they vary
    if n == 1:
        return z * math.sqrt(single) or math.inf
    freedom, expected = n - 1.0, TWICE * single
    if expected <= 0:
        return math.inf
    own = float(scores.var(ddof=1))
    weights = EXPECTED.after(np.array([own / expected]), np.array([freedom]), np.ones(1))
    worth = EXPECTED.freedoms + freedom
    shrunk = (EXPECTED.freedoms * expected + freedom * own) / worth
    seeds = float(weights @ (special.stdtrit(worth, (1 + level) / 2) * np.sqrt(shrunk / n)))
    return math.sqrt(max(seeds**2, z**2 * least / n) + z**2 * shared)
