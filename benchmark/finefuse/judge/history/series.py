"""How one measure of one line went from point to point, of all points that can be compared."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from finefuse.judge.board.lines import Place
from finefuse.judge.frame import number, numbers
from finefuse.judge.gate.amounts import AMOUNTS
from finefuse.judge.gate.examples import line_text
from finefuse.judge.gate.metrics import Score, scores
from finefuse.judge.gate.policy import NOISY
from finefuse.judge.gate.sides import latencies
from finefuse.judge.gate.times import TIMES
from finefuse.judge.history.points import Point
from finefuse.types import Record

EVERY: tuple[str, ...] = ("results version", "seeds")
"""What must be the same wherever two values are compared."""


class Measure(NamedTuple):
    """What is measured: its name, its field in a row, the metric if it is one, and which direction is better."""

    name: str
    field: str
    metric: str = ""
    lower: bool = True

    @property
    def family(self) -> str:
        """What limits and noise are given for: latencies of all batch sizes are one."""
        return self.name.partition(".")[0] if self.name.startswith("latency.") else self.name

    @property
    def noisy(self) -> bool:
        """Whether a clock or the system decides it, so that it is never the same twice."""
        return self.family in NOISY


@dataclass(frozen=True)
class Series:
    """Values of a line: means over seeds, of `points` by their numbers, with the `rows` they are of, by seed.

    `alike` is what all of them have in common and other values of the line don't, such as the machine.
    """

    line: str
    measure: Measure
    points: Sequence[int]
    values: Sequence[float]
    rows: Sequence[Sequence[Record]]
    alike: Mapping[str, str]


def all_series(points: Sequence[Point]) -> list[Series]:
    """One per line, measure and what can be compared, in the order of the lines."""
    found: dict[tuple[str, Measure, tuple[tuple[str, str], ...]], list[tuple[int, list[Record]]]] = defaultdict(list)
    for at, point in enumerate(points):
        for place, rows in _by_place(point.rows).items():
            for measure, own in _measured(rows):
                found[line_text(place), measure, tuple(_alike(measure, own).items())].append((at, own))
    return [
        Series(
            line,
            measure,
            [at for at, _ in own],
            [_mean(rows, measure.field) for _, rows in own],
            [rows for _, rows in own],
            dict(alike),
        )
        for (line, measure, alike), own in sorted(found.items(), key=lambda item: (item[0][0], item[1][0][0]))
    ]


def apart(series: Sequence[Series]) -> Counter[str]:
    """What keeps values of the same line and measure apart, with how many lines and measures it does so for."""
    groups: dict[tuple[str, str], list[Series]] = defaultdict(list)
    for one in series:
        groups[one.line, one.measure.name].append(one)
    told: Counter[str] = Counter()
    for own in groups.values():
        names = dict.fromkeys(name for one in own for name in one.alike)
        told.update(name for name in names if len({one.alike.get(name) for one in own}) > 1)
    return told


def _by_place(rows: Sequence[Record]) -> dict[Place, list[Record]]:
    """The ok rows of each line and of its timings, by seed."""
    found: dict[Place, list[Record]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        if row["status"] == "ok":
            found[Place.of(row)].append(row)
    return found


def _measured(rows: Sequence[Record]) -> Iterator[tuple[Measure, list[Record]]]:
    """All measures of one line at one point, each with the rows that have it."""
    lines, timed = ([row for row in rows if (row["kind"] == "time") is timed] for timed in (False, True))
    measures: dict[Measure, Sequence[Record]] = {}
    for row in lines:
        for score in dict.fromkeys(scores(row)):
            measures[_of_score(score, row)] = lines
    measures |= {Measure(name, field): lines for name, field in (*AMOUNTS.items(), *TIMES.items())}
    measures |= {Measure(name, name): timed for row in timed for name in latencies(row)}
    for measure, known in measures.items():
        if own := [row for row in known if math.isfinite(number(row, measure.field)) and not _elsewhere(measure, row)]:
            yield measure, own


def _of_score(score: Score, row: Record) -> Measure:
    return Measure(score.measure, score.field, score.metric, row[f"better.{score.metric}"] == "lower")


def _elsewhere(measure: Measure, row: Record) -> bool:
    """Whether a cost is that of a network that was tuned elsewhere."""
    return measure.noisy and bool(row.get("given"))


def _alike(measure: Measure, rows: Sequence[Record]) -> dict[str, str]:
    """What must be the same of two values for them to be compared."""
    names = EVERY
    if measure.metric:
        names = (*EVERY, "test examples", "ranking metric")
    elif measure.noisy:
        names = (*EVERY, "machine", "device", "protocol of costs", "threads")
    elif measure.name == "flops":
        names = (*EVERY, "counting of FLOPs")
    return {name: ", ".join(dict.fromkeys(_FACTS[name](row) for row in rows)) for name in names}


def _part(name: str) -> Callable[[Record], str]:
    return lambda row: str((row.get("parts") or {}).get(name, "unknown"))


_FACTS: Mapping[str, Callable[[Record], str]] = {
    "results version": _part("core"),
    "counting of FLOPs": _part("counting of FLOPs"),
    "seeds": lambda row: str(row["seed"]),
    "test examples": lambda row: f"{row.get('examples', 'unknown')} of {row.get('n_test', 'unknown')}",
    "ranking metric": lambda row: str(row["metrics"][0]),
    "machine": lambda row: str(row.get("machine")),
    "device": lambda row: str(row.get("device")).partition(":")[0],
    "protocol of costs": lambda row: str(row.get("costs", 1)),
    "threads": lambda row: str(row.get("threads", 1)),
}


def _mean(rows: Sequence[Record], field: str) -> float:
    return math.fsum(numbers(rows, field)) / len(rows)
