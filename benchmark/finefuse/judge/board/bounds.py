"""Bounds of the fusions of each pool, and how much its members differ: one line per pool."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from finefuse.judge.board.endings import reasons, status
from finefuse.judge.board.tasks import bound_fields
from finefuse.judge.frame import numbers
from finefuse.judge.statistics import mean_interval, paired_interval
from finefuse.types import Record

BOUNDS = ("single", "mean", "oracle", "untouched")
"""The member that is best on val, the mean member, the best member for each example; the body before any tuning.

A pool across data sets has the first, of each task, and the last; all others have all but the last.
"""
DIVERSITY = ("disagreement", "q", "correlation")
Gain = tuple[float, float]
"""By how much a fusion scores above the single member that is best on val, and half of the interval."""


class PoolPlace(NamedTuple):
    """The pool of one data set and backbone whose bounds a record holds."""

    dataset: str
    backbone: str
    pool: str

    @classmethod
    def of(cls, record: Record) -> PoolPlace:
        """The pool of a `pool` or `fuse` record."""
        return cls(record["dataset"], record["backbone"], record["pool"])


def by_pool(records: Iterable[Record]) -> dict[PoolPlace, list[Record]]:
    """The records with bounds, by pool and in the order of their seeds."""
    found: dict[PoolPlace, list[Record]] = defaultdict(list)
    for record in records:
        if record["kind"] == "pool" and record["status"] == "ok":
            found[PoolPlace.of(record)].append(record)
    return {place: sorted(rows, key=lambda row: row["seed"]) for place, rows in sorted(found.items())}


def make_pools(records: Iterable[Record]) -> list[dict[str, Any]]:
    """One line per pool: means over the seeds whose bounds are ok, and why the others are not."""
    found: dict[PoolPlace, list[Record]] = defaultdict(list)
    for record in records:
        if record["kind"] == "pool":
            found[PoolPlace.of(record)].append(record)
    return [_line(place, rows) for place, rows in sorted(found.items())]


def _line(place: PoolPlace, planned: Sequence[Record]) -> dict[str, Any]:
    rows = sorted((row for row in planned if row["status"] == "ok"), key=lambda row: row["seed"])
    metrics = rows[0]["metrics"] if rows else ()
    line: dict[str, Any] = {
        **place._asdict(),
        "members": rows[0]["members"] if rows else planned[0].get("members", 0),
        "metrics": tuple(metrics),
        "ok": len(rows),
        "status": status(planned),
        "reason": reasons(planned),
    }
    for bound in BOUNDS:
        for metric in metrics:
            if not any(f"{bound}.test.{metric}" in row for row in rows):
                continue
            values = numbers(rows, f"{bound}.test.{metric}")
            line[f"{bound}.{metric}.mean"], line[f"{bound}.{metric}.half"] = mean_interval(values)
    for figure in DIVERSITY:
        defined = [value for value in numbers(rows, figure) if not math.isnan(value)]
        line[figure] = mean_interval(defined)[0]
    return line | bound_fields(rows)


def gain(fused: Sequence[Record], bounds: Sequence[Record], better: Mapping[str, str]) -> Gain:
    """By how much a fusion is better than the best single member: the mean over common seeds, and half its interval.

    `better` holds the directions of the metrics, the ranking one first.
    """
    single = {row["seed"]: row for row in bounds}
    fused = [row for row in fused if row["seed"] in single]
    if not fused or not better:
        return math.nan, math.nan
    metric, direction = next(iter(better.items()))
    ours = numbers(fused, f"test.{metric}")
    theirs = numbers([single[row["seed"]] for row in fused], f"single.test.{metric}")
    return paired_interval(theirs, ours) if direction == "lower" else paired_interval(ours, theirs)
