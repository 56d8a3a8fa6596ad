"""A leaderboard read back from `leaderboard.json`, where only the reports were kept."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from finefuse.errors import StoreError
from finefuse.judge.board.curves import COLUMNS
from finefuse.judge.board.leaderboard import ENERGY, FRONTS, GAIN, KNOWN, Leaderboard, make_leaderboard
from finefuse.judge.frame import table
from finefuse.judge.resolution import Resolution
from finefuse.records import Records
from finefuse.rows import told

FILE = "leaderboard.json"
SCHEMA = 1
INFINITE = ("infinite", "one seed has no interval", "no interval")
"""Reasons for a null that stands for an infinite number."""
LISTS = ("metrics", "tasks")
NEEDED = ("dataset", "backbone", "strategy", "pool", "metrics")
TEXTS = frozenset(
    {*NEEDED, "label", "level", "needs", "status", "reason", "edge", "chosen", "origin", "followed_by", "statistics"}
    | {"aggregate", "metric", *FRONTS}
) - {*LISTS}
"""Columns of text; all others hold numbers."""
ADDED = (*GAIN, "cpu_seconds", "steps", "gradients", *ENERGY, "memory", "memory_with_members", "bytes")
"""Numbers that boards of earlier versions lack."""
RANKS = {"rank": "Int64", "rank.lowest": "Int64"}


def kept_alone(folder: Path) -> Path | None:
    """The board in a folder that has no records; None if it has some, or no board."""
    records = Records(folder)
    alone = not records.file.exists() and not records.plan_file.exists() and (folder / FILE).exists()
    return folder / FILE if alone else None


def saved_board(file: Path) -> Leaderboard:
    """The leaderboard in a `leaderboard.json`; an earlier version wrote no bounds, resolutions and curves.

    Raises:
        StoreError: if the file is no such board.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise StoreError(f"{file}: a board of schema {content['schema']!r}; this finefuse reads schema {SCHEMA}.")
        lines = _frame([_line(line) for line in content["lines"]])
        resolutions = {(one["dataset"], one["backbone"]): _resolution(one) for one in content.get("resolutions", ())}
        pools = _frame([_numbers(pool) for pool in content.get("pools", ())])
        curves = _frame([_numbers(point) for point in content.get("curves", ())]).reindex(columns=list(COLUMNS))
        notes, better = tuple(map(str, content["notes"])), dict(content["better"])
        suite = str(content["suite"])
        lines = _completed(lines.astype({name: kind for name, kind in RANKS.items() if name in lines}))
        _refuse_unknown_metrics(lines, better)
    except OSError as error:
        raise StoreError(f"{file}: can't be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{file}: not a leaderboard of finefuse ({type(error).__name__}: {error}).") from error
    return Leaderboard(suite, lines, notes, better, pools, resolutions, curves)


def _refuse_unknown_metrics(lines: pd.DataFrame, better: Mapping[str, str]) -> None:
    """Refuse lines that are ranked by what they have no score in.

    Raises:
        KeyError: for a metric without a column, or of which no row says which direction is better.
    """
    for metric in dict.fromkeys(metric for metrics in lines["metrics"] for metric in metrics):
        if f"test.{metric}.mean" not in lines or better.get(metric) not in ("higher", "lower"):
            raise KeyError(metric)


def _line(line: Mapping[str, Any]) -> dict[str, Any]:
    line = {"label": line["strategy"], **line}  # those of earlier versions have none
    if lacking := [name for name in (*NEEDED, "label") if line.get(name) is None]:
        raise KeyError(lacking[0])
    why = {name: reason for name, reason in line["null"].items() if name != "gain.half" or line["gain"] is not None}
    return {name: _value(name, value, why.get(name, "")) for name, value in line.items() if name != "null"}


def _value(name: str, value: Any, why: str) -> Any:
    kinds = list if name in LISTS else str if name in TEXTS else int | float
    if value is not None and not isinstance(value, kinds):
        raise TypeError(f"{name} is {told(value)}")
    if value is None and name in RANKS:
        return None
    if value is None:
        return math.inf if why in INFINITE else math.nan
    return tuple(map(str, value)) if isinstance(value, list) else value


def _numbers(pool: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(name, value, INFINITE[0] * name.endswith("half")) for name, value in pool.items()}


def _resolution(one: Mapping[str, Any]) -> Resolution:
    odd = {"needed": math.nan, "gap": math.nan, "seeds": math.inf}
    return Resolution._make(odd[name] if one[name] is None else one[name] for name in Resolution._fields)


def _frame(lines: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    names = dict.fromkeys(name for line in lines for name in line)
    return table({name: [line.get(name, math.nan) for line in lines] for name in names})


def _completed(lines: pd.DataFrame) -> pd.DataFrame:
    """Lines with the columns that boards of earlier versions lack, and those without any line."""
    if lines.empty:
        return make_leaderboard("", []).lines
    rows = lines.to_dict("records")
    halves = [row.get(f"test.{next(iter(row['metrics']), '')}.half", math.inf) for row in rows]
    former: dict[str, Any] = {
        "round": 0,
        "rounds": 1,
        "rank.lowest": lines["rank"],
        "interval": halves,
        **dict.fromkeys(("level", "needs", "reason", "edge"), ""),
        **({"aggregate": "", "tasks.half": math.nan} if "tasks" in lines else {}),
        **dict.fromkeys(ADDED, math.nan),
        **dict.fromkeys(FRONTS, ""),
    }
    completed = lines.assign(**{name: value for name, value in former.items() if name not in lines})
    if lacking := [name for name in KNOWN if name not in completed]:
        raise KeyError(lacking[0])
    return completed
