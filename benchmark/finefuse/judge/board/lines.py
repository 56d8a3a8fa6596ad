"""From records to the lines of a leaderboard: one per strategy, averaged over seeds and ranked."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from finefuse.errors import StoreError
from finefuse.judge.board.bounds import PoolPlace, by_pool, gain
from finefuse.judge.board.endings import reasons, status
from finefuse.judge.board.tasks import task_fields
from finefuse.judge.frame import number
from finefuse.judge.statistics import mean_interval, paired_interval
from finefuse.types import Cell, Record

MOMENTS = ("default", "last", "best", "peek")
"""Scores that don't count: before a search; of the last weights, those best on val, those best on test."""
Line = dict[str, Any]
Scores = dict[int, float]
"""The ranking metric by seed."""


class Place(NamedTuple):
    """The line of the board that a record belongs to."""

    dataset: str
    backbone: str
    label: str
    pool: str
    round: int

    @classmethod
    def of(cls, record: Record) -> Place:
        """The place of a `tune` or `fuse` record, and of the `time` record that belongs to it."""
        return cls(record["dataset"], record["backbone"], record["label"], record["pool"], record["round"])


def make_lines(records: Iterable[Record]) -> tuple[list[Line], dict[str, str]]:
    """The lines, ordered by data set, backbone and rank; and of every metric, which direction is better.

    A line's runs are the cells of every seed that have a line. Records with the status "missing" are planned
    cells without a row.

    Raises:
        StoreError: if a record has text where a number belongs, or doesn't say which direction is better.
    """
    records = list(records)
    bounds = by_pool(records)
    runs: dict[Place, list[Record]] = defaultdict(list)
    timed: dict[Place, list[Record]] = defaultdict(list)
    contended = set()
    for record in records:
        place, kind = Place.of(record), record["kind"]
        if kind == "time":
            timed[place].append(record)
        elif Cell.of(record).has_line:
            runs[place].append(record)
        if kind == "tune" and record.get("contended"):
            contended.add(place[:2])
    groups: dict[tuple[str, str], list[Place]] = defaultdict(list)
    for place in sorted(runs):
        groups[place[:2]].append(place)
    lines: list[Line] = []
    better: dict[str, str] = {}
    for group, places in groups.items():
        metrics = _metrics([record for place in places for record in runs[place]])
        better |= metrics
        drafts = [_line(place, runs[place], timed.get(place, []), list(metrics)) for place in places]
        for place, (line, _) in zip(places, drafts, strict=True):
            line["contended"] |= bool(line["pool"] and line["ok"]) and group in contended
            single = bounds.get(PoolPlace(place.dataset, place.backbone, place.pool), [])
            well = [row for row in runs[place] if row["status"] == "ok"]
            line["gain"], line["gain.half"] = gain(well, single, metrics)
            line["rounds"] = sum(other[:4] == place[:4] for other in places)
        lines += _ranked(drafts, lower=next(iter(metrics.values()), "higher") == "lower")
    return lines, better


def _metrics(rows: Sequence[Record]) -> dict[str, str]:
    """The metrics of one group's rows, the ranking one first, with their directions."""
    row = next((row for row in rows if row["status"] == "ok"), None)
    if row is None:
        return {}
    for metric in row["metrics"]:
        if row.get(f"better.{metric}") not in ("higher", "lower"):
            raise StoreError(f"the record of {row['cell']} doesn't say whether higher or lower {metric} is better.")
    return {metric: row[f"better.{metric}"] for metric in row["metrics"]}


def _line(place: Place, rows: list[Record], timed: list[Record], metrics: Sequence[str]) -> tuple[Line, Scores]:
    ok = sorted((row for row in rows if row["status"] == "ok"), key=lambda row: row["seed"])
    measured = [row for row in timed if row["status"] == "ok"]
    line: Line = {
        "dataset": place.dataset,
        "backbone": place.backbone,
        "rank": None,
        "tied": False,
        "strategy": f"{place.label} round {place.round + 1}" if place.round else place.label,
        "label": place.label,
        "round": place.round,
        "pool": place.pool,
        "level": rows[0].get("level", ""),
        "needs": ", ".join(rows[0].get("needs", ())),
        "metrics": tuple(metrics),
        "ok": len(ok),
        "planned": len(rows),
        "status": status(rows),
        "reason": reasons([*rows, *timed]),
        "seconds": _mean(ok, "seconds"),
        "seconds_with_members": _mean(ok, "seconds") + (_mean(ok, "seconds_members") if place.pool else 0.0),
        "cpu_seconds": _mean(ok, "cpu_seconds"),
        "steps": _mean(ok, "steps"),
        "gradients": _mean(ok, "gradients"),
        "contended": any(bool(row.get("contended")) for row in [*ok, *measured]),
        "trainable": _mean(ok, "trainable"),
        "parameters": _mean(ok, "parameters"),
        "flops": _mean(ok, "flops"),
        "memory": _mean(ok, "peak_memory"),
        "trials": max([row.get("trials", 0) for row in ok], default=0),
        "edge": ", ".join(sorted({name for row in ok for name in row.get("at_edge", ())})),
        "chosen": _chosen(ok),
        **task_fields(ok),
    }
    for metric in metrics:
        values = [number(row, f"test.{metric}") for row in ok]
        line[f"test.{metric}.mean"], line[f"test.{metric}.half"] = mean_interval(values)
        for moment in MOMENTS:
            line[f"{moment}.{metric}.mean"] = _mean(ok, f"{moment}.test.{metric}")
    for field in sorted(set().union(*ok)):
        if field.startswith("also."):
            line[f"{field}.mean"], line[f"{field}.half"] = mean_interval([number(row, field) for row in ok])
    for prefix, having in (("figure.", ok), ("latency.", measured)):
        for field in sorted(set().union(*having)):
            if field.startswith(prefix):
                line[field] = _mean(having, field)
    return line, {row["seed"]: number(row, f"test.{metrics[0]}") for row in ok} if metrics else {}


def _chosen(rows: Sequence[Record]) -> str:
    """The parameters of a fusion that were chosen on val: `scaling=0.3`, or `scaling=0.3; scaling=1` by seed."""
    found = [row["chosen"] for row in rows if row["kind"] == "fuse" and row.get("chosen")]
    return "; ".join(dict.fromkeys(", ".join(f"{name}={value}" for name, value in one.items()) for one in found))


def _mean(rows: Sequence[Record], field: str) -> float:
    """The mean over the rows that have the field; NaN if none has."""
    values = [value for row in rows if field in row and not math.isnan(value := number(row, field))]
    return mean_interval(values)[0]


def _ranked(drafts: list[tuple[Line, Scores]], *, lower: bool) -> list[Line]:
    """Best first, with ranks.

    Walking down, every line that can't be told from the leader of its group, by the paired interval over common seeds,
    shares the leader's rank; the first that can leads the next group. NaN comes last, lines without a score after it.
    """

    def order(draft: tuple[Line, Scores]) -> tuple[bool, bool, float]:
        mean, _ = mean_interval(list(draft[1].values()))
        return not draft[1], math.isnan(mean), 0.0 if math.isnan(mean) else mean if lower else -mean

    drafts = sorted(drafts, key=order)
    leader = 0
    for i, (line, scores) in enumerate(drafts):
        if not scores:
            continue
        if i and not _same(drafts[leader][1], scores):
            leader = i
        line["rank"] = leader + 1
        line["tied"] = drafts[leader][0]["tied"] = leader < i
    return [line for line, _ in drafts]


def _same(a: Scores, b: Scores) -> bool:
    """Whether two lines can't be told apart."""
    undefined = any(map(math.isnan, a.values())), any(map(math.isnan, b.values()))
    if any(undefined):
        return all(undefined)
    seeds = a.keys() & b.keys()
    mean, half = paired_interval([a[seed] for seed in sorted(seeds)], [b[seed] for seed in sorted(seeds)])
    return math.isnan(mean) or abs(mean) <= half
