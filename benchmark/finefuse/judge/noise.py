"""What the test examples leave open about scores and their differences, whatever the number of seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]


@dataclass(frozen=True)
class Noise:
    """Variances (lines, lines) of the difference of two lines, and (lines,) of a line's own score.

    `shared` is the part of the mean over seeds that remains however many seeds there are, because all have the same
    test examples. `least` is what test examples alone make of the variance of a single seed: seeds can't vary less,
    but by chance. `single` is the variance of a single seed among samples of test examples, NaN where nothing is known
    by example.
    """

    shared: Floats
    least: Floats
    single: Floats
    own_shared: Floats
    own_least: Floats
    own_single: Floats


def no_noise(lines: int) -> Noise:
    """Where nothing is known of single examples."""
    square, flat = np.zeros((lines, lines)), np.zeros(lines)
    return Noise(square, square, square + np.nan, flat, flat, flat + np.nan)


def noise_of(seeds: Iterable[tuple[Sequence[int], Singles]], lines: int, *, same: bool) -> Noise:
    """The noise of lines that have a score as the mean of a value per example.

    `seeds` yields for each seed the lines that have values (one after the other, in any order) and these, (those lines,
    examples). `same` says that the test examples of all seeds are the same: then seeds and examples are crossed, and
    their parts are told from each other as in the analysis of variance; else each seed has a sample of its own.
    """
    total, each = np.zeros((lines + 1, lines + 1)), np.zeros((lines + 1, lines + 1))
    count, sums = np.zeros(lines + 1, np.float32), np.zeros((lines + 1, 0), np.float32)
    for having, values in seeds:
        n = values.shape[1]
        at = np.ix_([*having, lines], [*having, lines])
        centred = np.zeros((len(having) + 1, n), np.float32)  # the last line is one without noise
        np.subtract(values, values.mean(1, keepdims=True), out=centred[:-1])
        each[at] += _distances(centred) / (n * max(n - 1, 1))
        total[at] += 1
        if same:
            sums = sums if sums.shape[1] else np.zeros((lines + 1, n), np.float32)
            sums[[*having, lines]] += centred
            count[[*having, lines]] += 1
    each = np.divide(each, total, out=np.zeros_like(each), where=total > 0)
    shared, least = _parts(each, total, count, sums) if same else (np.zeros_like(each), each)
    single = np.where(total > 0, each, np.nan)
    pairs, own = (slice(-1), slice(-1)), (-1, slice(-1))
    return Noise(shared[pairs], least[pairs], single[pairs], shared[own], least[own], single[own])


def _parts(each: Floats, total: Floats, count: Singles, sums: Singles) -> tuple[Floats, Floats]:
    """Of crossed seeds and examples: what the examples share over seeds, and what they make of one seed's variance.

    `sums` become means.
    """
    n = max(sums.shape[1], 2)
    sums /= np.maximum(count, 1)[:, None]
    between = _distances(sums) / (n * (n - 1))
    several = total > 1
    within = np.divide(each - between, total - 1, out=np.zeros_like(each), where=several)
    within = np.maximum(within, 0.0)
    return np.where(total > 0, np.maximum(between - within, 0.0), 0.0), within * np.where(several, total, 0)


def _distances(values: Singles) -> Floats:
    """The squared distance of every two rows."""
    scale = np.maximum(np.abs(values).max(1, initial=0.0), 1)  # float32 doesn't hold the squares of large losses
    values = values / scale[:, None]
    gram = (values @ values.T).astype(np.float64) * np.outer(scale, scale.astype(np.float64))
    own = np.diag(gram)
    return np.maximum(own[:, None] + own - 2 * gram, 0.0)
