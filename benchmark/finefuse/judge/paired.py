"""Paired tests of two rows on the same test examples: by which of them are right, or else by their losses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finefuse.judge.frame import correctness, losses
from finefuse.judge.statistics import matched_interval, mcnemar_exact, mean_interval, paired_p
from finefuse.types import Record


@dataclass(frozen=True)
class Paired:
    """How a new row differs from an old one on the same examples.

    `p` is the p-value, None where they don't differ. `gain` is above 0 where the new one is better, and (`low`, `high`)
    its 95 % interval: in accuracy, or as a share of the old row's mean loss.
    """

    p: float | None
    gain: float
    low: float
    high: float
    reason: str


def paired(old: Record, new: Record) -> Paired | None:
    """The test of two rows; None if one of them has no results per example."""
    if old.get("correct") and new.get("correct"):
        return _by_answers(old, new)
    if old.get("losses") and new.get("losses"):
        return _by_losses(old, new)
    return None


def _by_answers(old: Record, new: Record) -> Paired:
    """McNemar's exact test."""
    a, b = correctness(old), correctness(new)
    lost, won, n = int((a & ~b).sum()), int((b & ~a).sum()), len(a)
    low, high = matched_interval(lost, won, n)
    if not lost + won:
        return Paired(None, 0.0, low, high, "the same examples right")
    return Paired(mcnemar_exact(lost, won), (won - lost) / n, low, high, f"{lost} of {n} examples lost, {won} won")


def _by_losses(old: Record, new: Record) -> Paired | None:
    """Student's t test of the examples' losses; none where these are not finite."""
    a, b = losses(old), losses(new)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    fallen = a - b
    if not fallen.any():
        return Paired(None, 0.0, 0.0, 0.0, "the same losses")
    gain, half = mean_interval(fallen.tolist())
    scale = float(abs(a.mean())) or 1.0
    fewer, more = int((b < a).sum()), int((b > a).sum())
    reason = f"mean loss {a.mean():.4g}, now {b.mean():.4g}: lower on {fewer} of {len(a)} examples, higher on {more}"
    return Paired(paired_p(fallen.tolist()), gain / scale, (gain - half) / scale, (gain + half) / scale, reason)
