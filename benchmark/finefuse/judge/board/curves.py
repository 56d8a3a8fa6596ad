"""Curves over how many tasks or members are fused: means over the subsets that were drawn."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from finefuse.judge.board.bounds import PoolPlace
from finefuse.judge.board.tasks import BOUNDS
from finefuse.judge.frame import number
from finefuse.judge.statistics import mean_interval
from finefuse.types import Record

COLUMNS = ("dataset", "backbone", "pool", "strategy", "metric", "size", "subsets", "planned", "mean", "half")


def make_curves(records: Sequence[Record]) -> pd.DataFrame:
    """One row per pool, strategy and size: the mean over subsets of the mean over seeds, and half its 95 % interval.

    `subsets` are those whose seeds are all ok, of `planned` ones. The largest size is the whole pool: of fusions that
    don't depend on the order of members it is one subset, and has no interval.
    """
    parts = [row for row in records if row.get("size")]
    wholes = {PoolPlace.of(row): row for row in records if not row.get("size") and row["kind"] in ("fuse", "pool")}
    points: dict[PoolPlace, list[Record]] = defaultdict(list)
    for row in parts:
        points[_whole(row, wholes)].append(row)
    for row in records:
        first = row["kind"] in ("fuse", "pool") and not row.get("size") and not row.get("round")
        if first and (place := PoolPlace.of(row)) in points:
            points[place].append(row)
    rows = [point for place, own in points.items() for point in _points(place, own)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _whole(row: Record, wholes: Mapping[PoolPlace, Record]) -> PoolPlace:
    """The whole pool that part of one belongs to: a pool across data sets has another data set as a whole."""
    if PoolPlace.of(row) in wholes:
        return PoolPlace.of(row)
    same = [place for place in wholes if (place.backbone, place.pool) == (row["backbone"], row["pool"])]
    return same[0] if len(same) == 1 else PoolPlace.of(row)


def _size(row: Record) -> int:
    """How many tasks or members a row fuses."""
    return int(row.get("size") or len(row.get("tasks") or ()) or row.get("members", 0))


def _points(place: PoolPlace, rows: Sequence[Record]) -> Iterator[dict[str, Any]]:
    """The points of every strategy of a pool, and of its bounds."""
    metric = next((row["metrics"][0] for row in rows if row["status"] == "ok" and row.get("metrics")), "")
    found: dict[tuple[str, int], dict[tuple[int, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for strategy, field in _fields(row, metric):
            value = number(row, field) if row["status"] == "ok" else math.nan
            found[strategy, _size(row)][row.get("size", 0), row.get("draw", 0)].append(value)
    for (strategy, size), draws in found.items():
        drawn = {draw: values for draw, values in draws.items() if draw[0]} or draws
        means = [sum(values) / len(values) for values in drawn.values()]
        good = [mean for mean in means if not math.isnan(mean)]
        mean, half = mean_interval(good)
        told = (strategy, metric, size, len(good), len(means), mean, half)
        yield dict(zip(COLUMNS, (*place, *told), strict=True))


def _fields(row: Record, metric: str) -> Iterator[tuple[str, str]]:
    """What a row says of which line of a curve, as names of fields."""
    if row["kind"] == "fuse":
        yield row["label"], f"test.{metric}"
    elif row["kind"] == "pool":
        names = BOUNDS if row.get("tasks") else {"single": "best single on val", "oracle": "oracle"}
        for bound, name in names.items():
            if f"{bound}.test.{metric}" in row:
                yield name, f"{bound}.test.{metric}"


def curve_tables(
    curves: pd.DataFrame, dataset: str, backbone: str, better: Mapping[str, str]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """For each pool of a group a sentence and a table, strategies by size; the best at the largest size come first."""
    own = curves[(curves["dataset"] == dataset) & (curves["backbone"] == backbone)]
    for pool, points in own.groupby("pool", sort=False):
        sizes = sorted(points["size"].unique())
        cells = points.set_index(["strategy", "size"])
        metric = points["metric"].iloc[0]
        last = points[points["size"] == sizes[-1]]
        order = last.sort_values("mean", ascending=better.get(metric) == "lower", kind="stable")["strategy"]
        names = list(dict.fromkeys([*order, *points["strategy"]]))
        table = pd.DataFrame({"strategy": names})
        for size in sizes:
            table[f"{size}"] = [_cell(cells.loc[name, size]) if (name, size) in cells.index else "" for name in names]
        draws = ", ".join(f"{_range(points.loc[points['size'] == size, 'planned'])} of size {size}" for size in sizes)
        yield (
            f"{metric} by how many of pool {pool} are fused, ± over what was drawn: {draws}. Of methods that depend on "
            "the order of members orders were drawn too.",
            table,
        )


def _range(counts: pd.Series) -> str:
    """`3`, or `1 to 4`."""
    least, most = counts.min(), counts.max()
    return f"{least}" if least == most else f"{least} to {most}"


def _cell(point: pd.Series) -> str:
    if math.isnan(point["mean"]):
        return ""
    text = f"{point['mean']:.4f}"
    text += f" ± {point['half']:.4f}" if math.isfinite(point["half"]) and point["half"] > 0 else ""
    return text if point["subsets"] == point["planned"] else f"{text} ({point['subsets']}/{point['planned']})"
