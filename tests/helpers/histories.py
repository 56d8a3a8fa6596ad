"""Points of a history in the making."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from finefuse.judge.gate.sides import Side
from finefuse.judge.history.points import Point
from finefuse.judge.history.told import History, steps_of
from finefuse.types import Cell, Record


def point(name: str, rows: Iterable[Record], bases: Iterable[Record] = (), **gate: Any) -> Point:
    """A point with these rows."""
    own, pretrained = ({Cell.of(row): row for row in each} for each in (rows, bases))
    side = Side(Path(name), own, pretrained, (), (), True, gate)
    return Point(name, f"2026-01-{len(name):02d}T00:00:00Z", f"title of {name}", side)


def look(points: Sequence[Sequence[Record]], **options: Any) -> History:
    """The history of these rows, whose points are called 0, 1, 2 and so on."""
    return steps_of(Path("results"), [point(str(at), rows) for at, rows in enumerate(points)], **options)


def told(found: History) -> list[tuple[str, str, str]]:
    """Of each step the point, the line and the measure, the newest first."""
    return [(found.points[step.point].name, step.series.line, step.series.measure.name) for step in found.found]
