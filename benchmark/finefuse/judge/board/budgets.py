"""What each budget buys, in multiples of what a linear probe costs: the line that is best on val within it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from finefuse.judge.board.lines import Place
from finefuse.judge.frame import numbers
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


class Bill(NamedTuple):
    """A line, its ok rows, and what it cost with its members in seconds; NaN where that is not known."""

    line: Mapping[Any, Any]
    rows: Sequence[Record]
    cost: float


def make_budgets(records: Sequence[Record], lines: Iterable[Mapping[Any, Any]], unit: str) -> list[dict[str, Any]]:
    """One row per data set, backbone and budget of `FACTORS`, in seconds of the cheapest line of the scheme `unit`.

    Of the lines that have scores for all seeds of that one, with their members cost no more, and whose cost is known,
    the one with the best mean on val is shown, of equal ones the cheapest: its `cost` in units, and `mean` and
    `interval` on test, which chose nothing. `val_used` says that it was fitted or chosen on val before. Where seconds
    are of several machines there is no row.
    """
    rows: dict[Place, list[Record]] = defaultdict(list)
    for record in records:
        if record["status"] == "ok" and Cell.of_line(record):
            rows[Place.of(record)].append(record)
    groups: dict[tuple[str, str], list[Bill]] = defaultdict(list)
    for line in (line for line in lines if line["ok"]):
        place = Place(*(line[name] for name in Place._fields))
        cost = math.nan if line.get("origin") else line["seconds_with_members"]
        groups[place[:2]].append(Bill(line, rows[place], cost))
    return [bought for bills in groups.values() for bought in _of_table(bills, unit)]


def _of_table(bills: Sequence[Bill], unit: str) -> list[dict[str, Any]]:
    """The rows of one data set and backbone."""
    probes = [bill for bill in bills if bill.rows[0].get("use") == unit and not bill.line["pool"] and bill.cost > 0]
    if not probes or len({row.get("machine") for bill in bills for row in bill.rows}) > 1:
        return []
    probe = min(probes, key=lambda bill: bill.cost)
    metric, seeds = str(probe.rows[0]["metrics"][0]), {row["seed"] for row in probe.rows}
    sign = 1 if probe.rows[0][f"better.{metric}"] == "higher" else -1
    able: list[tuple[float, Bill]] = []
    for bill in bills:
        values = numbers(bill.rows, f"val.{metric}")
        mean = math.nan if any(map(math.isnan, values)) else math.fsum(values) / len(values)
        if not math.isnan(mean) and seeds <= {row["seed"] for row in bill.rows}:
            able.append((sign * mean, bill))
    found = []
    for factor in FACTORS:
        within = [one for one in able if one[1].cost <= factor * probe.cost]
        if within:
            _, best = min(within, key=_choice)
            share = {"budget": factor, "unit": probe.cost, "cost": best.cost / probe.cost}
            found.append(_bought(best.line, best.rows, metric) | share)
    return found


def _choice(able: tuple[float, Bill]) -> tuple[float, float, str, str]:
    """The best mean on val first, of equal ones the cheapest, then by name: lines come in an order that knows test."""
    mean, bill = able
    return -mean, bill.cost, str(bill.line["strategy"]), str(bill.line["pool"])


def _bought(line: Mapping[Any, Any], rows: Sequence[Record], metric: str) -> dict[str, Any]:
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
