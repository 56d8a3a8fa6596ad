"""The lines of one table in order, with ranks, intervals, and what the table can tell apart at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from finefuse.judge.frame import numbers
from finefuse.judge.intervals import score_half
from finefuse.judge.noise import Noise
from finefuse.judge.outcomes import score_step, table_noise
from finefuse.judge.ranks import standing
from finefuse.judge.resolution import Resolution, resolution
from finefuse.judge.statistics import mean_interval
from finefuse.types import Record

Line = dict[str, Any]
Draft = tuple[Line, Sequence[Record]]
"""A line without a rank, and its ok rows in the order of their seeds."""


class Ranked(NamedTuple):
    """Drafts, best first, and what their table can tell apart.

    `surely` (scored, scored) says which line is better than which and told apart from it.
    """

    drafts: Sequence[Draft]
    resolution: Resolution | None
    surely: NDArray[np.bool_]

    @property
    def lines(self) -> list[Line]:
        """The lines alone."""
        return [line for line, _ in self.drafts]


def ranked(drafts: Sequence[Draft], metric: str, *, lower: bool) -> Ranked:
    """The lines, best first, with `rank`, `rank.lowest`, `tied` and `interval`.

    NaN comes last, lines without a score after it.
    """
    means = [_mean(rows, metric) for _, rows in drafts]

    def order(at: int) -> tuple[bool, bool, float]:
        mean = means[at]
        return not drafts[at][1], math.isnan(mean), 0.0 if math.isnan(mean) else mean if lower else -mean

    drafts = [drafts[at] for at in sorted(range(len(drafts)), key=order)]
    scored = [draft for draft in drafts if draft[1]]
    nothing: tuple[None, NDArray[np.bool_]] = None, np.zeros((0, 0), bool)
    found, surely = _rank(scored, metric, lower=lower) if scored else nothing
    for line, _ in drafts[len(scored) :]:
        line |= {"rank": None, "rank.lowest": None, "tied": False, "interval": math.nan}
    return Ranked(drafts, found, surely)


def _rank(scored: Sequence[Draft], metric: str, *, lower: bool) -> tuple[Resolution | None, NDArray[np.bool_]]:
    """Write ranks and intervals into lines that have scores, and say what the table can tell apart."""
    rows = [rows for _, rows in scored]
    scores, classes = score_table(rows, metric, lower=lower)
    noise = table_noise(rows, metric)
    found = standing(scores, classes, lower=lower, noise=noise, step=score_step(rows, metric))
    for at, (line, _) in enumerate(scored):
        line |= {"rank": int(found.rank[at]), "rank.lowest": int(found.lowest[at]), "tied": bool(found.tied[at])}
        line["interval"] = _half(scores[at], noise, at) if not classes[at] else math.nan
    return resolution(found, scores, noise) if (classes == 0).sum() > 1 else None, found.better


def score_table(
    lines: Sequence[Sequence[Record]], metric: str, *, lower: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The scores (lines, seeds) of rows, NaN where there is no row, and the class of each line.

    A line with scores that are not all finite has none here, and a class: -1 if infinitely good, 1 if infinitely bad,
    2 if undefined; all others have 0.
    """
    seeds = {seed: at for at, seed in enumerate(sorted({row["seed"] for rows in lines for row in rows}))}
    scores = np.full((len(lines), len(seeds)), np.nan)
    classes = np.zeros(len(lines), np.int64)
    for at, rows in enumerate(lines):
        values = numbers(rows, f"test.{metric}")
        if all(map(math.isfinite, values)):
            scores[at, [seeds[row["seed"]] for row in rows]] = values
        else:
            mean = sum(values)
            classes[at] = 2 if math.isnan(mean) else 1 if (mean > 0) == lower else -1
    return scores, classes


def _half(scores: NDArray[np.float64], noise: Noise, at: int) -> float:
    own = (float(part[at]) for part in (noise.own_shared, noise.own_least, noise.own_single))
    return score_half(scores[np.isfinite(scores)], *own)


def _mean(rows: Sequence[Record], metric: str) -> float:
    return mean_interval(numbers(rows, f"test.{metric}"))[0]
