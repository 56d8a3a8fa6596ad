"""From records to the lines of a leaderboard: one per strategy, averaged over seeds and ranked."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from finefuse.errors import StoreError
from finefuse.judge.aggregate import Tuned, halves, tuned_rows
from finefuse.judge.board.bounds import PoolPlace, by_pool, gain
from finefuse.judge.board.endings import reasons, status
from finefuse.judge.board.memory import WHOLE
from finefuse.judge.board.pareto import COSTS, fronts
from finefuse.judge.board.ranking import Draft, Line, Ranked, ranked
from finefuse.judge.board.tasks import task_fields
from finefuse.judge.frame import numbers
from finefuse.judge.resolution import Resolution
from finefuse.judge.statistics import mean_interval
from finefuse.rows import is_given
from finefuse.types import Cell, Record

MEANS = (
    "cpu_seconds",
    "steps",
    "gradients",
    "trainable",
    "parameters",
    "flops",
    "bytes",
    "energy.processors",
    "energy.gpu",
)
"""Columns that are means over seeds of fields of the same name."""
MOMENTS = ("default", "peek_at_test", "last", "best", "peek")
"""Scores that don't count: before a search, and of its trial that is best on test; of the last weights, those best on
val, those best on test."""


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

    @property
    def strategy(self) -> str:
        """What the board calls it: the label, and a round after the first."""
        return f"{self.label} round {self.round + 1}" if self.round else self.label


def make_lines(records: Iterable[Record]) -> tuple[list[Line], dict[str, str], dict[tuple[str, str], Resolution]]:
    """The lines, ordered by data set, backbone and score; of every metric, which direction is better; resolutions.

    A line's runs are the cells of every seed that have a line. Records with the status "missing" are planned
    cells without a row.

    Raises:
        StoreError: if a record has text where a number belongs, or doesn't say which direction is better.
    """
    records = list(records)
    tuned = tuned_rows(records) if any(record.get("tasks") for record in records) else {}
    bounds = by_pool(records)
    runs: dict[Place, list[Record]] = defaultdict(list)
    timed: dict[Place, list[Record]] = defaultdict(list)
    contended = set()
    for record in records:
        place, kind = Place.of(record), record["kind"]
        if kind == "time":
            timed[place].append(record)
        elif Cell.of_line(record):
            runs[place].append(record)
        if kind == "tune" and record.get("contended"):
            contended.add(place[:2])
    groups: dict[tuple[str, str], list[Place]] = defaultdict(list)
    for place in sorted(runs):
        groups[place[:2]].append(place)
    lines: list[Line] = []
    better: dict[str, str] = {}
    resolutions: dict[tuple[str, str], Resolution] = {}
    for group, places in groups.items():
        rounds = Counter(place[:4] for place in places)
        metrics = _metrics([record for place in places for record in runs[place]])
        better |= metrics
        drafts = [_line(place, runs[place], timed.get(place, []), list(metrics)) for place in places]
        for place, (line, well) in zip(places, drafts, strict=True):
            line["contended"] |= bool(line["pool"] and line["ok"]) and group in contended
            single = bounds.get(PoolPlace(place.dataset, place.backbone, place.pool), [])
            line["gain"], line["gain.half"] = gain(well, single, metrics)
            line["rounds"] = rounds[place[:4]]
        metric, direction = next(iter(metrics.items()), ("", "higher"))
        found = ranked(drafts, metric, lower=direction == "lower")
        for line, half in zip(*_halves(drafts, tuned), strict=True):
            line["interval"] = half
        measured = [row for place in places for row in (*runs[place], *timed.get(place, ())) if row["status"] == "ok"]
        _write_fronts(found, metric, {row.get("machine") for row in measured}, sign=-1 if direction == "lower" else 1)
        lines += found.lines
        if found.resolution:
            resolutions[group] = found.resolution
    return lines, better, resolutions


def _halves(drafts: Sequence[Draft], tuned: Tuned) -> tuple[list[Line], list[float]]:
    """The lines of several tasks, with half of the interval of each one's figure."""
    across = [(line, rows) for line, rows in drafts if rows and rows[0].get("tasks")]
    return [line for line, _ in across], halves([rows for _, rows in across], tuned)


def _write_fronts(found: Ranked, metric: str, machines: set[str | None], *, sign: int) -> None:
    """Say of each line which fronts it is on; of one without a score, none."""
    scored = found.drafts[: len(found.surely)]
    means = sign * np.array([line[f"test.{metric}.mean"] for line, _ in scored])
    known = fronts(scored, means, found.surely, machines)
    for at, (line, _) in enumerate(found.drafts):
        line |= {f"front.{name}": known[name][at] if name in known and at < len(scored) else "" for name in COSTS}


def _metrics(rows: Sequence[Record]) -> dict[str, str]:
    """The metrics of one group's rows, the ranking one first, with their directions."""
    row = next((row for row in rows if row["status"] == "ok"), None)
    if row is None:
        return {}
    for metric in row["metrics"]:
        if row.get(f"better.{metric}") not in ("higher", "lower"):
            raise StoreError(f"the record of {row['cell']} doesn't say whether higher or lower {metric} is better.")
    return {metric: row[f"better.{metric}"] for metric in row["metrics"]}


def _line(place: Place, rows: list[Record], timed: list[Record], metrics: Sequence[str]) -> Draft:
    ok = sorted((row for row in rows if row["status"] == "ok"), key=lambda row: row["seed"])
    measured = [row for row in timed if row["status"] == "ok"]
    fields = sorted(set().union(*ok))
    there = {*fields}
    seconds = _mean(ok, "seconds")
    line: Line = {
        "dataset": place.dataset,
        "backbone": place.backbone,
        "strategy": place.strategy,
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
        "seconds": seconds,
        "seconds_with_members": seconds + (_mean(ok, "seconds_members") if place.pool else 0.0),
        "contended": any(bool(row.get("contended")) for row in [*ok, *measured]),
        "memory": _mean(ok, "peak_memory"),
        "memory_with_members": math.nan if _origin(ok) else _mean(ok, WHOLE),
        "trials": max([row.get("trials", 0) for row in ok], default=0),
        "edge": ", ".join(sorted({name for row in ok for name in row.get("at_edge", ())})),
        "chosen": _chosen(ok),
        "origin": _origin(ok),
        "followed_by": _stages(rows[0]),
        **{name: _mean(ok, name) if name in there else math.nan for name in MEANS},
        **task_fields(ok),
    }
    for metric in metrics:
        line[f"test.{metric}.mean"], line[f"test.{metric}.half"] = mean_interval(numbers(ok, f"test.{metric}"))
        for moment in MOMENTS:
            field = f"{moment}.test.{metric}"
            line[f"{moment}.{metric}.mean"] = _mean(ok, field) if field in there else math.nan
    for field in fields:
        if field.startswith(("also.", "source.")):
            line[f"{field}.mean"], line[f"{field}.half"] = mean_interval(numbers(ok, field))
    line |= {field: _mean(ok, field) for field in fields if field.startswith("figure.")}
    latencies = {field for row in measured for field in row if field.startswith("latency.")}
    return line | {field: _mean(measured, field) for field in sorted(latencies)}, ok


def _stages(row: Record) -> str:
    """The stages that follow a fusion, each with the data it saw: `recalibrate (unlabelled)`."""
    pairs = zip(row.get("followed_by") or (), row.get("saw") or (), strict=True)
    return ", ".join(f"{stage} ({saw})" for stage, saw in pairs)


def _origin(rows: Sequence[Record]) -> str:
    """Whether a line's networks were tuned elsewhere ("given"), or some of what it is made of ("made of given")."""
    if not any(row.get("given") for row in rows):
        return ""
    return "given" if all(is_given(row) for row in rows) else "made of given"


def _chosen(rows: Sequence[Record]) -> str:
    """The parameters of a fusion that were chosen on val: `scaling=0.3`, or `scaling=0.3; scaling=1` by seed."""
    found = [row["chosen"] for row in rows if row["kind"] == "fuse" and row.get("chosen") is not None]
    told = [", ".join(f"{name}={value}" for name, value in one.items()) or "default" for one in found]
    return "; ".join(dict.fromkeys(told))


def _mean(rows: Sequence[Record], field: str) -> float:
    """The mean over the rows that have the field; NaN if none has."""
    return mean_interval([value for value in numbers(rows, field) if not math.isnan(value)])[0]
