"""Seconds, latency and memory of runs that were repeated in pairs, one side after the other on one machine.

The unit of replication is the pair: what slows the machine for a while slows both runs of it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from scipy import special

from finefuse.judge.board.lines import Place
from finefuse.judge.frame import number
from finefuse.judge.gate.examples import line_text
from finefuse.judge.gate.policy import NOISY, Limit, Policy
from finefuse.judge.gate.questions import Answer, Question, Tested, quantile, settle
from finefuse.judge.gate.sides import latencies
from finefuse.judge.gate.times import FLOORS
from finefuse.records import read_results
from finefuse.types import Cell, Record

Runs = Sequence[tuple[Sequence[Record], Sequence[Record]]]
"""All rows of the base and of the new side, by pair."""
LIMITS: Mapping[str, Limit] = dict.fromkeys(NOISY, Limit(0.02, True))
"""How much worse doesn't matter where neither the suite nor the caller says so."""
TOTAL = 0.8
"""The share of the level of times that is for the processor seconds of all jobs; the rest is for lines."""
STEADIEST = 0.005
"""The least standard deviation of the logarithm of a ratio: that of few pairs is smaller by chance."""
ALL = "all jobs"
_CLOCK = "clock"
_Rows = Mapping[Cell, Record]


class _What(NamedTuple):
    """What is measured where: `place` is None for all jobs together."""

    place: Place | None
    measure: str
    shown: str


class _Values:
    """What each job took in each run: one list per job, of the base's and the new value by pair."""

    def __init__(self, jobs: Sequence[Sequence[tuple[float, float]]]) -> None:
        self.jobs = len(jobs)
        self.sums = [tuple(map(math.fsum, zip(*pair, strict=True))) for pair in zip(*jobs, strict=True)]

    def logarithms(self, floor: float) -> list[float]:
        """Of the ratio in each pair."""
        return [math.log((new / self.jobs + floor) / (old / self.jobs + floor)) for old, new in self.sums]

    def means(self) -> tuple[float, float]:
        """Of all jobs together, over runs: the base's and the new one."""
        old, new = (math.fsum(values) / len(values) for values in zip(*self.sums, strict=True))
        return old, new


def read_runs(folders: Iterable[tuple[Path, Path]]) -> Runs:
    """All rows of the results folders of both sides, by pair.

    Raises:
        StoreError: if one can't be read.
    """
    return [(read_results(base).rows, read_results(new).rows) for base, new in folders]


def answers(runs: Runs, policy: Policy, over: Counter[str]) -> list[Answer]:
    """The answers about all jobs together and about lines, of two or more pairs; `over` as in `times.questions`."""
    found = _collect(runs, over)
    whole: list[Question] = []
    lines: list[Question] = []
    for what, values in found.items():
        limit = policy.limits.get(what.measure, LIMITS.get(what.measure))
        if limit:
            clock = found.get(_What(what.place, _CLOCK, _CLOCK)) if what.measure == "train_s" else None
            (lines if what.place else whole).append(_question(what, values, clock, limit))
    return [*settle("time", whole, policy, part=TOTAL), *settle("time", lines, policy, part=1 - TOTAL)]


def notes(runs: Runs, found: Iterable[Answer]) -> Iterator[str]:
    """What the processor seconds of all jobs come to, and whether a side's own runs have the same bits."""
    for verdict in (one.verdict for one in found if one.verdict.cell == ALL):
        seen = f"a slowdown of {100 * verdict.visible:.2g} % would have been caught"
        yield f"Processor seconds of all jobs: {verdict.reason}; {seen}."
    for name, first, others in _sides(runs):
        differing = [
            cell
            for cell, row in first.items()
            if any(cell in other and other[cell].get("outputs") != row.get("outputs") for other in others)
        ]
        if differing:
            yield (
                f"The {name}'s own runs differ in {len(differing)} cells, such as {differing[0]}: what changed there "
                "may be chance."
            )


def lost(runs: Runs) -> Iterator[str]:
    """What was ok in the first run of a side and not in a later one."""
    for name, first, others in _sides(runs):
        if gone := [cell for cell in first if any(cell not in other for other in others)]:
            yield f"In the {name}'s first run {len(gone)} cells were ok and not in a later one, such as {gone[0]}."


def _sides(runs: Runs) -> Iterator[tuple[str, _Rows, list[_Rows]]]:
    """Each side with the good rows of its first run, and of its others."""
    for name, side in zip(("base", "new side"), zip(*runs, strict=True), strict=False):
        first, *others = (_good(rows) for rows in side)
        yield name, first, others


def _good(rows: Iterable[Record]) -> _Rows:
    return {Cell.of(row): row for row in rows if row["status"] == "ok"}


def paired(logarithms: Sequence[float], least: float) -> Tested:
    """Student's t test that ratios of pairs are beyond a limit, both given as logarithms, in either direction."""
    n = len(logarithms)
    mean = math.fsum(logarithms) / n
    spread = math.sqrt(math.fsum((one - mean) ** 2 for one in logarithms) / (n - 1))
    noise = max(spread, STEADIEST) / math.sqrt(n)
    worse, better = (float(special.stdtr(float(n - 1), (least - side * mean) / noise)) for side in (1, -1))
    return Tested(worse, better, 0.0, -math.expm1(mean), quantile(0.975, n - 1) * noise, noise, n - 1)


def _question(what: _What, values: _Values, clock: _Values | None, limit: Limit) -> Question:
    floor, (base, new) = FLOORS[what.measure], values.means()
    if what.place:
        base, new = base / values.jobs, new / values.jobs
    logarithms = values.logarithms(floor)
    tested = paired(logarithms, math.log1p(limit.share([base]).amount))
    mean, pairs = math.fsum(logarithms) / len(logarithms), len(logarithms)
    low, high = (math.exp(mean + side * tested.half) for side in (-1, 1))
    said = f"{math.exp(mean):.3g} times in {pairs} pairs, 95 % from {low:.3g} to {high:.3g}"
    if clock:
        said += f"; by the clock {math.exp(math.fsum(clock.logarithms(floor)) / pairs):.3g} times"
    tested = replace(tested, said=said)
    if not what.place:
        return Question("comparison", ALL, what.shown, base, new, tested, limit)
    return Question("line", line_text(what.place), what.shown, base, new, tested, limit)


def _collect(runs: Runs, over: Counter[str]) -> dict[_What, _Values]:
    """What is measured in every run of a cell: of lines with their seeds and members, and of all jobs together."""
    both = [(_good(old), _good(new)) for old, new in runs]
    first = both[0][0].keys() & both[0][1].keys()
    every = [cell for cell in both[0][0] if all(cell in old and cell in new for old, new in both)]
    if lost := len(first) - len(every):
        over["cells not ok in every run"] += lost
    found: dict[_What, list[list[tuple[float, float]]]] = defaultdict(list)
    for cell in every:
        rows = [(old[cell], new[cell]) for old, new in both]
        for what, field in _measured(rows[0][0]):
            values = [(number(old, field), number(new, field)) for old, new in rows]
            if not any(math.isnan(value) for pair in values for value in pair):
                found[what].append(values)
            elif what.place and what.measure != _CLOCK:
                over[f"{what.measure} not measured in every run"] += 1
    return {what: _Values(jobs) for what, jobs in found.items()}


def _measured(row: Record) -> Iterator[tuple[_What, str]]:
    """What a row has, and in which field: on a GPU processors only wait, so the clock counts."""
    place = None if row["kind"] == "pretrain" else Place.of(row)
    if row["kind"] == "time":
        yield from ((_What(place, "latency", name), name) for name in latencies(row))
    elif row["kind"] in ("pretrain", "tune", "fuse") and not row.get("given"):
        on_processor = str(row["device"]).startswith("cpu") and "cpu_seconds" in row
        fields = (("train_s", "cpu_seconds" if on_processor else "seconds"), (_CLOCK, "seconds"))
        yield from ((_What(at, measure, measure), field) for at in {place, None} for measure, field in fields)
        if place and not math.isnan(number(row, "peak_memory")):
            yield _What(place, "memory", "memory"), "peak_memory"
