"""Ranks of a board of which the rows were not kept: from means and Student's intervals alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import special

from finefuse.judge.board.leaderboard import Leaderboard
from finefuse.judge.ranks import standing_of_means

FORMER = ("Means over up to ", "One seed: ")
"""How a board's sentence on its means and ranks begins."""


def ranked_from_means(board: Leaderboard) -> Leaderboard:
    """The board with ranks by the present rule, as far as means tell; a note says what they rest on."""
    lines = board.lines.copy()
    for _, group in lines.groupby(["dataset", "backbone"], sort=False):
        metric = group["metrics"].iloc[0][0]
        known = group.index[(group["ok"] > 0) & np.isfinite(group[f"test.{metric}.mean"].astype(float))]
        if len(known):
            _rank(lines, known, metric, lower=board.better[metric] == "lower")
    notes = [_told(int(lines["ok"].max())) if note.startswith(FORMER) else note for note in board.notes]
    return replace(board, lines=lines, notes=tuple(notes))


def _rank(lines: pd.DataFrame, at: pd.Index[int], metric: str, *, lower: bool) -> None:
    """Write the ranks of the lines `at`, which are all of one table that have a score."""
    means, halves = (lines.loc[at, f"test.{metric}.{part}"].to_numpy(float) for part in ("mean", "half"))
    seeds = lines.loc[at, "ok"].to_numpy(np.int64)
    quantiles = special.stdtrit(np.maximum(seeds - 1, 1), 0.975)
    variances = np.where(seeds > 1, seeds * (halves / quantiles) ** 2, 0.0)
    found = standing_of_means(means, variances, seeds, lower=lower)
    lines.loc[at, "rank"], lines.loc[at, "rank.lowest"], lines.loc[at, "tied"] = found.rank, found.lowest, found.tied


def _told(seeds: int) -> str:
    if seeds == 1:
        return "One seed: nothing can be told apart, so all lines share a rank."
    return (
        f"Means over up to {seeds} seeds, ± half of Student's 95 % interval. Ranks are computed from these alone, as "
        "the rows were not kept: lines are not paired by seed, so that fewer can be told apart, and what the test "
        "examples leave open is not in it. A rank is 1 plus the number of lines that are better and can be told apart; "
        "= marks lines that share one. In about 5 % of tables of equal lines, or fewer, any are told apart, and in "
        "95 % of tables all true ranks lie within those under 95 %."
    )
