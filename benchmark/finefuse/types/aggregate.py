"""How the scores of several tasks become one figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from finefuse.types.data import Task

By = Literal["mean-of-ratios", "ratio-of-means"]
Zero = Literal["undefined", "left-out"]


@dataclass(frozen=True)
class Aggregate:
    """`by`: the mean of the tasks' scores divided by those of their own models, or the mean score divided by the mean.

    `zero`: what a task is whose own model scores 0, by which nothing can be divided: the figure is undefined (NaN), or
    the task is left out.
    """

    by: By = "mean-of-ratios"
    zero: Zero = "undefined"

    def __str__(self) -> str:
        return f"{self.by.replace('-', ' ')}, {self.zero.replace('-', ' ')} at 0"

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Aggregate:
        """That of a row; rows of former versions don't say it."""
        said: Sequence[Any] = row.get("aggregate") or ()
        return cls(*said)

    def kept(self, own: Sequence[float], better: Sequence[str]) -> list[int]:
        """The places of the tasks that count, which the own models decide: a merge that fails at a task keeps it."""
        places = range(len(own))
        if self.zero == "undefined":
            return list(places)
        return [i for i in places if not math.isnan(ratio(own[i], own[i], better[i]))]

    def figure(self, scores: Sequence[float], own: Sequence[float], better: Sequence[str]) -> float:
        """The figure of scores, by those of the tasks' own models, and by which direction is better for each.

        A ratio of means is of tasks that share a metric. NaN where no task counts.
        """
        kept = self.kept(own, better)
        if not kept:
            return math.nan
        if self.by == "ratio-of-means":
            return ratio(sum(scores[i] for i in kept), sum(own[i] for i in kept), better[0])
        ratios = [ratio(scores[i], own[i], better[i]) for i in kept]
        return sum(ratios) / len(ratios)


def counts(task: Task, own: float, zero: Zero) -> bool:
    """Whether a task counts where something is chosen by `Task.normalised`, as the quality of its own model decides."""
    return zero == "undefined" or not math.isnan(task.normalised(own, own))


def ratio(score: float, own: float, better: str) -> float:
    """A score by that of the task's own model: 1 for as good, more for better.

    score / own where higher is better and own / score where lower is, as of errors; NaN if that is no measure.
    """
    above, below = (score, own) if better == "higher" else (own, score)
    if better == "higher" or below:
        return above / below if below > 0 else math.nan
    return math.inf if above else 1.0
