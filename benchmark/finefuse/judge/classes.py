"""Which classes a line takes for which, and how good it is at each; from the predicted classes of one or more seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from finefuse.judge.statistics import share_interval
from finefuse.predictions import Answers


@dataclass(frozen=True)
class ClassScores:
    """How the test examples of one task were classified, all `seeds` that have predictions together.

    `classes` has one row per class: `class`, its number as `number`, `examples`, `predicted`, `right`, `recall` with
    its 95 % interval `low` to `high`, `precision` and `f1`; NaN where undefined. `taken` has one row for each true and
    predicted class that occur together: their names, numbers and `count`, the most frequent confusions first, then
    what is right.
    """

    task: str
    names: tuple[str, ...]
    classes: pd.DataFrame
    taken: pd.DataFrame
    seeds: int

    def matrix(self) -> NDArray[np.int64]:
        """The confusion matrix (true classes, predicted classes)."""
        found = np.zeros((len(self.names), len(self.names)), np.int64)
        found[self.taken["true number"], self.taken["predicted number"]] = self.taken["count"]
        return found


def class_scores(seeds: Sequence[Answers]) -> ClassScores:
    """The scores by class of one task, of the answers of one or more seeds.

    Seeds may have the same test examples, so that an interval is that of as many examples as one seed has.
    """
    first = seeds[0]
    count = len(first.names)
    true, predicted = np.concatenate([one.true for one in seeds]), np.concatenate([one.predicted for one in seeds])
    examples, asked = np.bincount(true, minlength=count), np.bincount(predicted, minlength=count)
    right = np.bincount(true[true == predicted], minlength=count)
    with np.errstate(invalid="ignore"):
        recall, precision, f1 = right / examples, right / asked, 2 * right / (examples + asked)
    ends = [share_interval(share, n) for share, n in zip(recall, examples / len(seeds), strict=True)]
    table = pd.DataFrame(
        {"class": first.names, "number": np.arange(count), "examples": examples, "predicted": asked, "right": right}
        | {"recall": recall, "low": [low for low, _ in ends], "high": [high for _, high in ends]}
        | {"precision": precision, "f1": f1}
    )
    return ClassScores(first.task, first.names, table, _taken(first.names, true, predicted), len(seeds))


def scores_by_task(rows: Iterable[Sequence[Answers]]) -> list[ClassScores]:
    """The scores by class of each task, of the answers of several rows."""
    tasks: dict[tuple[str, tuple[str, ...]], list[Answers]] = {}
    for answers in rows:
        for one in answers:
            tasks.setdefault((one.task, one.names), []).append(one)
    return list(map(class_scores, tasks.values()))


def _taken(names: Sequence[str], true: NDArray[np.int64], predicted: NDArray[np.int64]) -> pd.DataFrame:
    pairs, counts = np.unique(true * len(names) + predicted, return_counts=True)
    of, to = np.divmod(pairs, len(names))
    order = np.lexsort((pairs, -counts, of == to))
    told = np.array(names, dtype=object)
    return pd.DataFrame(
        {
            "true": told[of[order]],
            "predicted": told[to[order]],
            "count": counts[order],
            "true number": of[order],
            "predicted number": to[order],
        }
    )


def hardest(found: ClassScores, most: int) -> pd.DataFrame:
    """The classes with the lowest recall, of equals the first."""
    known = found.classes[found.classes["examples"] > 0]
    return known.sort_values("recall", kind="stable").head(most)


def balanced(found: ClassScores) -> tuple[float, float]:
    """The means over the classes that have examples of recall (balanced accuracy) and of F1 (macro F1)."""
    known = found.classes[found.classes["examples"] > 0]
    return (float(known["recall"].mean()), float(known["f1"].mean())) if len(known) else (math.nan, math.nan)
