"""Figures over several tasks: what seeds, test examples and tasks leave open, and rows that mix splits."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from finefuse.errors import StoreError
from finefuse.judge.frame import correctness, numbers
from finefuse.judge.intervals import score_half
from finefuse.judge.noise import no_noise, noise_of
from finefuse.judge.statistics import mean_interval
from finefuse.rows import CLOSE
from finefuse.types import Record
from finefuse.types.aggregate import Aggregate

Singles = NDArray[np.float32]
Tuned = Mapping[tuple[str, str, int], Sequence[Record]]
"""Good rows of tuned networks by data set, backbone and seed."""


def tuned_rows(records: Sequence[Record]) -> Tuned:
    """The rows that own models of tasks may have: those of the first round."""
    found: dict[tuple[str, str, int], list[Record]] = defaultdict(list)
    for row in records:
        if row["kind"] == "tune" and row["status"] == "ok" and not row.get("round"):
            found[row["dataset"], row["backbone"], row["seed"]].append(row)
    return found


def without_mixed(records: Sequence[Record]) -> list[Record]:
    """The records; those of several tasks whose own models have other scores there than in their own rows have failed.

    Such a row divides by a score that was measured on another split.

    Raises:
        StoreError: if rows of one table make one figure of the tasks in different ways.
    """
    if not any(row.get("tasks") for row in records):
        return list(records)
    tuned = tuned_rows(records)
    ways: dict[tuple[str, str], Aggregate] = {}
    checked = []
    for row in records:
        if row["status"] == "ok" and row.get("tasks") and row["kind"] == "fuse":
            way = ways.setdefault((row["dataset"], row["backbone"]), Aggregate.of(row))
            if way != Aggregate.of(row):
                raise StoreError(f"the record of {row['cell']} is a {Aggregate.of(row)}, and others a {way}.")
            if said := next(_mixed(row, tuned), ""):
                row = row | {"status": "failed", "error": "StoreError", "reason": said}
        checked.append(row)
    return checked


def _mixed(row: Record, tuned: Tuned) -> Iterator[str]:
    """Why a row mixes splits, one sentence for each task."""
    for task, metric in zip(row["tasks"], row["ranked_by"], strict=True):
        own = row.get(f"task.{task}.own.{metric}")
        there = [one for one in tuned.get((task, row["backbone"], row["seed"]), ()) if f"test.{metric}" in one]
        scores = [one[f"test.{metric}"] for one in there]
        if own is not None and scores and not any(_same(own, score) for score in scores):
            told = ", ".join(f"{score:.4f}" for score in scores)
            what = f"the own model of {task} has a {metric} of {own:.4f} here, and of {told} in its own row"
            yield f"mixes splits: {what}"
        digest = (row.get("examples_of") or {}).get(task)
        if digest and there and not any(one.get("examples") in (None, digest) for one in there):
            yield f"mixes splits: the test examples of {task} are others than those of its own model"


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= CLOSE or (math.isnan(a) and math.isnan(b))


def halves(lines: Sequence[Sequence[Record]], tuned: Tuned) -> list[float]:
    """Half of each line's 95 % interval of the figure, of seeds and test examples together; each has its ok rows.

    The own models are scored on the same test examples, and what these leave open is worked out for both together, to
    the first order. Where it is unknown, the interval is Student's over seeds.
    """
    samples: dict[tuple[int, str, int], list[tuple[int, Singles]]] = defaultdict(list)
    for at, rows in enumerate(lines):
        for row in rows:
            values = example_values(row, tuned)
            if values is not None:
                samples[row["seed"], row.get("examples") or "", len(values)].append((at, values))
    noise = no_noise(len(lines))
    if samples:
        same = len({sample[1:] for sample in samples}) == 1 and all(examples for _, examples, _ in samples)
        moved = (([at for at, _ in cells], np.stack([v for _, v in cells])) for _, cells in sorted(samples.items()))
        noise = noise_of(moved, len(lines), same=same)
    found = []
    for at, rows in enumerate(lines):
        scores = np.array(numbers(rows, "test.normalised"))
        parts = (float(part[at]) for part in (noise.own_shared, noise.own_least, noise.own_single))
        found.append(score_half(scores, *parts))
    return found


def example_values(row: Record, tuned: Tuned) -> Singles | None:
    """By how much each test example moves a row's figure, (n_test,): their mean is the figure, to the first order.

    None where that doesn't follow from single examples.
    """
    if not row.get("correct") or not row.get("tasks") or not math.isfinite(row.get("test.normalised") or math.nan):
        return None
    bits, parts, start = correctness(row), [], 0
    for task, metric in zip(row["tasks"], row["ranked_by"], strict=True):
        own = _own(row, task, metric, tuned)
        n = int(row.get(f"task.{task}.n_test") or (own or {}).get("n_test") or 0)
        right = bits[start : start + n].astype(np.float64)
        if not n or len(right) != n or abs(right.mean() - row[f"task.{task}.test.{metric}"]) > CLOSE:
            return None
        has = own is not None and own.get("correct") and own["n_test"] == n
        theirs = correctness(own).astype(np.float64) if own is not None and has else None
        parts.append((right, theirs, float(row[f"task.{task}.own.{metric}"])))
        start += n
    return _moved(parts, Aggregate.of(row), len(bits)) if start == len(bits) else None


def _own(row: Record, task: str, metric: str, tuned: Tuned) -> Record | None:
    """The row of a task's own model."""
    rows = tuned.get((task, row["backbone"], row["seed"]), ())
    return next(
        (one for one in rows if _same(one.get(f"test.{metric}", math.nan), row[f"task.{task}.own.{metric}"])), None
    )


def _moved(
    parts: Sequence[tuple[NDArray[np.float64], NDArray[np.float64] | None, float]], way: Aggregate, total: int
) -> Singles | None:
    """The values of all examples from those of each task: right or not, the same of the own model, and its score.

    Each task has as many examples as it has, so how high its values lie says nothing of how they vary.
    """
    kept = [part for part in parts if part[2] > 0 or way.zero == "undefined"]
    own = [one for _, _, one in kept]
    if not kept or (way.by == "mean-of-ratios" and min(own) <= 0) or sum(own) <= 0:
        return None
    means = [right.mean() for right, _, _ in kept]
    ratio = sum(means) / sum(own)
    figure = ratio if way.by == "ratio-of-means" else sum(m / o for m, o in zip(means, own, strict=True)) / len(kept)
    values = []
    for right, theirs, score in parts:
        if score <= 0 and way.zero == "left-out":
            values.append(np.full(len(right), figure))
            continue
        by, level = (sum(own), ratio) if way.by == "ratio-of-means" else (score * len(kept), right.mean() / score)
        moved = (right if theirs is None else right - level * theirs) / by * total / len(right)
        values.append(moved - moved.mean() + figure)
    return np.concatenate(values).astype(np.float32)


def over_tasks(rows: Sequence[Record]) -> float:
    """Half of a line's 95 % interval of the figure for other tasks like these: Student's, of a jackknife over tasks."""
    if not rows or len(rows[0].get("tasks") or ()) < 2:
        return math.inf
    way, tasks = Aggregate.of(rows[0]), list(zip(rows[0]["tasks"], rows[0]["ranked_by"], strict=True))
    figures = []
    for left in (None, *range(len(tasks))):
        some = [task for i, task in enumerate(tasks) if i != left]
        each = [_figure(row, some, way) for row in rows]
        figures.append(sum(each) / len(each))
    whole, n = figures[0], len(tasks)
    return mean_interval([n * whole - (n - 1) * one for one in figures[1:]])[1]


def _figure(row: Record, tasks: Sequence[tuple[str, str]], way: Aggregate) -> float:
    scores = [row[f"task.{task}.test.{metric}"] for task, metric in tasks]
    own = [row[f"task.{task}.own.{metric}"] for task, metric in tasks]
    return way.figure(scores, own, [direction(row, task, metric) for task, metric in tasks])


def direction(row: Record, task: str, metric: str) -> str:
    """Which direction of a task's metric is better: as the row says, or else as the task's own ratio tells."""
    known = row.get(f"better.{metric}")
    if isinstance(known, str):
        return known
    score, own = row[f"task.{task}.test.{metric}"], row[f"task.{task}.own.{metric}"]
    told = row[f"task.{task}.test.normalised"]
    return "lower" if score > 0 and _same(own / score, told) and not _same(score, own) else "higher"
