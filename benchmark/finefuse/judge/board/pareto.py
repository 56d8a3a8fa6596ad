"""Which lines of a table nothing beats at no higher cost, as far as costs and scores can be told apart."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from finefuse.judge.board.memory import WHOLE
from finefuse.judge.frame import numbers
from finefuse.types import Record

Floats = NDArray[np.float64]
COSTS = ("training", "latency", "flops", "memory", "bytes")
"""The costs that a front is of: seconds of training and memory with the members', latency at the smallest batch, ..."""
MEASURED = ("training", "latency", "memory")
"""Those that depend on the machine."""
FRONT, MAYBE, OFF = "front", "maybe", ""


class Cost(NamedTuple):
    """A cost of each line of a table (lines,): its mean, and from where to where it may be; NaN where unknown."""

    mean: Floats
    low: Floats
    high: Floats


def fronts(
    drafts: Sequence[tuple[Mapping[str, Any], Sequence[Record]]],
    scores: Floats,
    surely: Any,
    machines: Collection[str | None],
) -> dict[str, list[str]]:
    """For every cost, whether each line is on the front: "front", "maybe", or "" if it is off it or has no such cost.

    `scores` (lines,) are means, higher is better; `surely` (lines, lines) says which line is better than which beyond
    noise. A line is off the front if another is surely no dearer and surely better, or as good and cheaper by numbers
    that are exact. It is on it if no other is as cheap and as good by the means. Otherwise, "maybe". With more than one
    of `machines`, what was measured has no front.
    """
    names = [name for name in COSTS if len(machines) < 2 or name not in MEASURED]
    return {name: _front(cost, scores, surely) for name in names if (cost := _cost(name, drafts)) is not None}


def _front(cost: Cost, scores: Floats, surely: NDArray[np.bool_]) -> list[str]:
    known: NDArray[np.bool_] = ~np.isnan(cost.mean) & ~np.isnan(scores)
    with np.errstate(invalid="ignore"):
        cheap, good = cost.mean[:, None] <= cost.mean, scores[:, None] >= scores
        more = (cost.mean[:, None] < cost.mean) | (scores[:, None] > scores)
        beaten: NDArray[np.bool_] = np.any(cheap & good & more & known[:, None], axis=0)
        no_dearer = (cost.high[:, None] <= cost.low) & known[:, None]
        off: NDArray[np.bool_] = np.any(no_dearer & surely, axis=0)
    found = np.where(beaten, MAYBE, FRONT)
    return [str(name) for name in np.where(known & ~off, found, OFF)]


def _cost(name: str, drafts: Sequence[tuple[Mapping[str, Any], Sequence[Record]]]) -> Cost | None:
    """A cost of all lines; None if at most one has it."""
    spans = np.array([ends(name, line, rows) for line, rows in drafts], float).reshape(-1, 3)
    return Cost(*spans.T) if (~np.isnan(spans[:, 0])).sum() > 1 else None


def ends(name: str, line: Mapping[Any, Any], rows: Sequence[Record]) -> tuple[float, float, float]:
    """The mean of a line's cost, and from where to where it may be: what was measured beside other work may be less.

    Networks that were given have no bill, and neither has what is made of them.
    """
    if name == "latency":
        mean, within = _latency(line)
        low, high = mean * (1 - within), mean * (1 + within)
    elif name in ("flops", "bytes"):
        low = high = mean = float(line[name])
    else:
        values = [] if line.get("origin") else _training(line, rows) if name == "training" else numbers(rows, WHOLE)
        values = [value for value in values if not math.isnan(value)]
        if not values:
            return math.nan, math.nan, math.nan
        mean, low, high = math.fsum(values) / len(values), min(values), max(values)
    return mean, 0.0 if line["contended"] and name in ("training", "latency") else low, high


def _training(line: Mapping[Any, Any], rows: Sequence[Record]) -> list[float]:
    """Seconds with the members'."""
    members = numbers(rows, "seconds_members") if line["pool"] else [0.0] * len(rows)
    return [own + more for own, more in zip(numbers(rows, "seconds"), members, strict=True)]


def _latency(line: Mapping[Any, Any]) -> tuple[float, float]:
    """The median at the smallest batch, and how well it is known; of rows that don't say, not at all."""
    sizes = [int(name.split(".")[1]) for name in line if name.startswith("latency.") and name.endswith(".p50")]
    if not sizes:
        return math.nan, 1.0
    within = float(line.get(f"latency.{min(sizes)}.within", math.nan))
    return float(line[f"latency.{min(sizes)}.p50"]), within if within < 1 else 1.0
