"""The tests of a suite that is held against a baseline: one per line, one for all of it, and one per latency."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from finefuse.declare.plan import Plan
from finefuse.judge.board.lines import Place
from finefuse.judge.compare import Comparison
from finefuse.judge.frame import number
from finefuse.judge.gate.examples import line_text
from finefuse.judge.gate.reports import message
from finefuse.judge.gate.sides import Side, judged
from finefuse.types import Cell, Record, Verdict

ALL = "all cells together"
"""The test of what is about no single line."""
FIELD = "latency.{}.p50"


@dataclass(frozen=True)
class Wanted:
    """The lines that get a test, by the texts of their cells, and the latencies that are handed to pytest-benchmark.

    A latency is a line and the field of its rows.
    """

    lines: Mapping[str, str]
    latencies: Sequence[tuple[str, str]]

    @classmethod
    def of(cls, plan: Plan, base: Side, *, timed: bool) -> Wanted:
        """Those of a plan and of the baseline; latencies only if they can be `timed`."""
        planned = [job.place for job in plan.jobs]
        cells = [cell for cell in (*base.rows, *base.absent) if isinstance(cell, Cell)]
        lines = {str(cell): _line(cell) for cell in (*cells, *planned) if judged(cell)}
        places = dict.fromkeys(_line(cell) for cell in planned if cell.kind == "time" and timed)
        return cls(lines, [(line, FIELD.format(batch)) for line in places for batch in plan.suite.latency])

    @cached_property
    def names(self) -> Mapping[str, None]:
        """All lines, each once, in the order of their tests."""
        return dict.fromkeys(self.lines.values())

    def line_of(self, verdict: Verdict) -> str:
        """The test that a verdict belongs to."""
        where = verdict.cell if verdict.scope == "line" else self.lines.get(verdict.cell, "")
        return where if where in self.names else ALL


def _line(cell: Cell) -> str:
    return line_text(Place(cell.dataset, cell.backbone, cell.label, cell.pool, cell.round))


class GateTest(pytest.Function):
    """A test that is no function of a module."""

    def reportinfo(self) -> tuple[Path, None, str]:
        """The baseline's records, and a title, which isn't the name: dots of that would become colons."""
        return self.path, None, f"finefuse: {self.name}"


class Lines(pytest.File):
    """All tests of the suite."""

    wanted: Wanted

    @classmethod
    def of(cls, parent: pytest.Collector, file: Path, wanted: Wanted) -> Lines:
        """Those of a plan and a baseline."""
        made: Lines = cls.from_parent(parent, path=file)
        made.wanted = wanted
        return made

    def collect(self) -> Iterator[pytest.Item]:
        """Everything that concerns no single line first."""
        yield self._test(ALL, _judging(self.wanted, ALL))
        for line in self.wanted.names:
            yield self._test(line, _judging(self.wanted, line))
        for line, field in self.wanted.latencies:
            test, timer = _timing(line, field)
            yield self._test(f"{line} {field}", test, pytest.mark.benchmark(group=field, timer=timer))

    def _test(self, name: str, function: Callable[..., None], *marks: pytest.MarkDecorator) -> pytest.Item:
        test: pytest.Item = GateTest.from_parent(self, name=name, callobj=function)
        if self.config.pluginmanager.hasplugin("xdist"):
            marks = (*marks, pytest.mark.xdist_group("finefuse"))  # with --dist loadgroup no process waits for another
        for mark in (pytest.mark.finefuse, *marks):
            test.add_marker(mark)
        return test


def _judging(wanted: Wanted, line: str) -> Callable[[Comparison], None]:
    """A test that fails if the gate does because of this line."""

    def judge(finefuse_comparison: Comparison) -> None:
        found = finefuse_comparison
        own = [verdict for verdict in found.verdicts if wanted.line_of(verdict) == line]
        fatal = [f"{v.cell}: {message(v)}" for v in own if v.judgement in found.policy.fatal]
        said = [*(found.doubts if line == ALL else ()), *fatal]
        if line != ALL and not own:
            said = [f"{line}: nothing of it was judged"]
        if said:
            pytest.fail("\n".join(said), pytrace=False)
        if own and all(verdict.judgement == "skipped" for verdict in own):
            pytest.skip(own[0].reason)

    return judge


def _timing(line: str, field: str) -> tuple[Callable[..., None], Callable[[], float]]:
    """A test that hands the latencies of all seeds to pytest-benchmark, and the clock that shows them."""
    shown: deque[float] = deque()

    def replay() -> float:
        return shown.popleft()

    def time(benchmark: Any, finefuse_rows: Sequence[Record]) -> None:
        timed = [row for row in finefuse_rows if row["kind"] == "time" and row["status"] == "ok"]
        rows = [row for row in timed if _line(Cell.of(row)) == line and row.get(field) is not None]
        seconds = [number(row, field) for row in rows]
        if not seconds:
            pytest.skip(f"{field} was not measured")
        shown.extend(chain.from_iterable((0.0, one) for one in seconds))
        benchmark.pedantic(lambda: None, rounds=len(seconds))

    return time, replay
