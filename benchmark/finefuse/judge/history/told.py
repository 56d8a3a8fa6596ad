"""A history: the steps that lines took, as a table, and what it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from finefuse.errors import FinefuseError, did_you_mean
from finefuse.judge.board import present
from finefuse.judge.board.terminal import Readable
from finefuse.judge.gate import calibration
from finefuse.judge.gate.policy import read_policy
from finefuse.judge.gate.shown import number
from finefuse.judge.gate.surroundings import (
    fed_by,
    other_bases,
    other_machines,
    other_parameters,
    other_settings,
    other_versions,
)
from finefuse.judge.history.points import Point, points_of
from finefuse.judge.history.series import Series, all_series, apart
from finefuse.judge.history.steps import Step, find_steps
from finefuse.types import Bullets, Heading

COLUMNS = ("commit", "date", "line", "measure", "from", "to", "change", "verdict", "what else differs")


@dataclass(frozen=True)
class History(Readable):
    """The points of a folder, its series, and the steps of each by its number; `notes` say what it rests on."""

    folder: Path
    points: Sequence[Point]
    series: Sequence[Series]
    steps: Mapping[int, Sequence[Step]]
    notes: Sequence[str]

    @property
    def found(self) -> list[Step]:
        """All steps, the newest first."""
        return sorted((step for own in self.steps.values() for step in own), key=lambda step: -step.point)

    def blocks(self) -> Iterator[present.Block]:
        """A heading, a list and the table, for whoever draws them."""
        yield Heading(f"{self.folder}: {counted(self.found)}", 1)
        yield Bullets(tuple(self.notes))
        if self.found:
            yield self.table()

    def table(self) -> pd.DataFrame:
        """One row per step."""
        table = pd.DataFrame([self._row(step) for step in self.found], columns=list(COLUMNS))
        return table.loc[:, [name for name in COLUMNS if (table[name] != "").any()]]

    def _row(self, step: Step) -> tuple[str, ...]:
        point, measure = self.points[step.point], step.series.measure
        arrow = present.ARROWS["lower" if measure.lower else "higher"]
        values = number(step.old), number(step.new), moved(step)
        judged = "worse" if step.worse else "better"
        beside = "; ".join(self._beside(step))
        return point.name, point.when[:10], step.series.line, f"{measure.name} {arrow}", *values, judged, beside

    def _beside(self, step: Step) -> Iterator[str]:
        """What else differs between the values before and after a step."""
        at, series = step.at, step.series
        before, after = series.rows[at - 1], series.rows[at]
        old, new = (self.points[series.points[i]].side for i in (at - 1, at))
        if base := fed_by(after[0], other_bases(old, new)):
            yield f"the pretrained {base} has other bits, and the same code"
        pairs = list(zip(before, after, strict=True))
        for differing in (other_versions, other_settings, other_parameters, other_machines):
            yield from differing(pairs)


def history(
    folder: Path, *, last: int | None = None, alpha: float | None = None, measures: Sequence[str] = ()
) -> History:
    """Read the history of a results folder in git, or of a folder of results folders, and find its steps.

    Args:
        folder: one whose records are in git, or one of results folders, which count in the order of their dates.
        last: how many of the newest points to look at; None for all.
        alpha: the chance of any false step; None for the table [gate] of the newest results, or 0.05.
        measures: the only ones to look at, by name; none for all.

    Raises:
        FinefuseError: if there is no history, or no such measure.
    """
    points, notes = points_of(folder, last)
    found = steps_of(folder, points, alpha=alpha, measures=measures)
    return replace(found, notes=[*found.notes, *notes])


def steps_of(
    folder: Path, points: Sequence[Point], *, alpha: float | None = None, measures: Sequence[str] = ()
) -> History:
    """The same of points that were read, one at least.

    Raises:
        FinefuseError: if there is no such measure, or `alpha` makes no sense.
    """
    policy = read_policy(points[-1].side.gate, {"alpha": alpha})
    series = all_series(points)
    known = sorted({one.measure.name for one in series})
    for name in measures:
        if name not in known:
            listed = did_you_mean(name, known) or f"; expected one of {', '.join(known)}."
            raise FinefuseError(f"{folder}: nothing is measured that is called {name!r}{listed}")
    series = [one for one in series if not measures or one.measure.name in measures]
    calibrated = calibration.known(rows[0] for one in series if one.measure.noisy for rows in one.rows)
    found = find_steps(series, policy, calibrated)
    notes = *_span(points), *_notes(series, found.untested), *(one.sentence() for one in calibrated.values())
    return History(folder, points, series, found.steps, notes)


def _span(points: Sequence[Point]) -> Iterator[str]:
    first, newest = points[0], points[-1]
    span = f"{first.name} ({first.when[:10]}) to {newest.name} ({newest.when[:10]})"
    yield f"{len(points)} points, from {span}." if len(points) > 1 else f"One point only, {first.name}."


def _notes(series: Sequence[Series], untested: int) -> Iterator[str]:
    """What was not compared, and why."""
    total = len({(one.line, one.measure.name) for one in series})
    if across := apart(series):
        listed = "; ".join(f"{name} ({count})" for name, count in across.most_common())
        yield f"Not compared where these differ, with how many of {total} lines and measures it concerns: {listed}."
    if untested:
        yield f"{untested} changed and couldn't be tested: nothing tells what is chance."


def counted(steps: Sequence[Step]) -> str:
    """How many steps there are."""
    worse = sum(step.worse for step in steps)
    return f"{len(steps)} step{'s' * (len(steps) > 1)}, {worse} for the worse" if steps else "no steps"


def moved(step: Step) -> str:
    """By how much a step goes, as a share of where it comes from, where there is one; of metrics the difference."""
    if step.series.measure.metric:
        return f"{step.new - step.old:+.4g}"
    return f"{100 * (step.new / step.old - 1):+.3g} %" if step.old else ""
