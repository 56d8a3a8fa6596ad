"""What each budget buys, in multiples of what a linear probe costs: the line that is best on val within it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from finefuse.judge.board.lines import Place
from finefuse.judge.frame import numbers, table
from finefuse.judge.statistics import mean_interval
from finefuse.types import Cell, Record

FACTORS = (1, 2, 5, 20)
COLUMNS = (
    "dataset",
    "backbone",
    "budget",
    "unit",
    "strategy",
    "label",
    "pool",
    "cost",
    "metric",
    "mean",
    "interval",
    "contended",
    "val_used",
)


def make_budgets(records: Sequence[Record], lines: pd.DataFrame, unit: str) -> pd.DataFrame:
    """One row per data set, backbone and budget of `FACTORS`, in seconds of the cheapest line of the scheme `unit`.

    Of the lines that have scores for all seeds of that one, with their members cost no more, and whose cost is known,
    the one with the best mean on val is shown: its `cost` in units, and `mean` and `interval` on test, which chose
    nothing. `val_used` says that it was fitted or chosen on val before. Where seconds are of several machines there is
    no row.
    """
    rows: dict[Place, list[Record]] = defaultdict(list)
    for record in records:
        if record["status"] == "ok" and Cell.of(record).has_line:
            rows[Place.of(record)].append(record)
    found: list[dict[str, Any]] = []
    for _, group in lines[lines["ok"] > 0].groupby(["dataset", "backbone"], sort=False):
        of = {at: rows[Place(*line)] for at, line in zip(group.index, _places(group), strict=True)}
        if len({record.get("machine") for at in of for record in of[at]}) == 1:
            found += _of_table(group, of, unit)
    return table({name: [one[name] for one in found] for name in COLUMNS})


def _places(group: pd.DataFrame) -> list[tuple[str, str, str, str, int]]:
    return list(group[["dataset", "backbone", "label", "pool", "round"]].itertuples(index=False, name=None))


def _of_table(group: pd.DataFrame, of: Mapping[Any, Sequence[Record]], unit: str) -> list[dict[str, Any]]:
    costs = group["seconds_with_members"].where(_billed(group))
    probes = [at for at in group.index if of[at][0].get("use") == unit and not group.at[at, "pool"] and costs[at] > 0]
    if not probes:
        return []
    probe = min(probes, key=lambda at: costs[at])
    metric = str(of[probe][0]["metrics"][0])
    sign = 1 if of[probe][0][f"better.{metric}"] == "higher" else -1
    seeds = {record["seed"] for record in of[probe]}
    values = {
        at: mean_interval(numbers(of[at], f"val.{metric}"))[0] for at in group.index if metric in of[at][0]["metrics"]
    }
    able = [at for at in values if seeds <= {record["seed"] for record in of[at]} and not math.isnan(values[at])]
    found = []
    for factor in FACTORS:
        within = [at for at in able if costs[at] <= factor * costs[probe]]
        if within:
            best = max(within, key=lambda at: sign * values[at])
            found.append(_bought(group.loc[best], of[best], metric) | {"budget": factor, "unit": costs[probe]})
            found[-1]["cost"] = costs[best] / costs[probe]
    return found


def _billed(group: pd.DataFrame) -> Any:
    return group["origin"] == "" if "origin" in group else pd.Series(True, index=group.index)


def _bought(line: Any, rows: Sequence[Record], metric: str) -> dict[str, Any]:
    names = ("dataset", "backbone", "strategy", "label", "pool", "interval", "contended")
    return {name: line[name] for name in names} | {
        "metric": metric,
        "mean": line[f"test.{metric}.mean"],
        "val_used": any(map(val_used, rows)),
    }


def val_used(row: Record) -> bool:
    """Whether a row's method was fitted or chosen on val, as far as the row says."""
    parts = row.get("parts") or {}
    best = row["kind"] == "tune" and parts.get("budget: selection") == '"best-val"'
    return best or "val" in (row.get("needs") or ()) or bool(row.get("trials")) or bool(row.get("chosen"))
