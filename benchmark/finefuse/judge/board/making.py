"""All tables of a board, part after part of its records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from finefuse.judge.aggregate import without_mixed
from finefuse.judge.board.bounds import make_pools
from finefuse.judge.board.budgets import make_budgets
from finefuse.judge.board.curves import make_curves
from finefuse.judge.board.fairness import comparable, newest_costs
from finefuse.judge.board.lines import make_lines
from finefuse.judge.board.memory import with_members
from finefuse.judge.board.parts import Again, Noted, parts
from finefuse.judge.board.ranking import Line
from finefuse.judge.resolution import Resolution
from finefuse.types import Cell, Record


class Tables(NamedTuple):
    """What was made of one part: see `Leaderboard`."""

    lines: list[Line]
    better: Mapping[str, str]
    resolutions: Mapping[tuple[str, str], Resolution]
    bounds: list[dict[str, Any]]
    budgets: list[dict[str, Any]]
    curves: pd.DataFrame


class Made(NamedTuple):
    """All tables in the order of their data sets; the records that notes are of, and those that the board has."""

    tables: Tables
    noted: Sequence[Record]
    records: Sequence[Record]


def make_tables(records: Iterable[Record], missing: Sequence[Cell | str], unit: str) -> Made:
    """The tables of records, of which no more are held than of one part.

    A part that was made before a newer protocol of costs was met is made again, as all are.
    """
    newest = newest_costs(())
    while True:
        found: list[Tables] = []
        noted, count, again = Noted(), 0, False
        for part in parts(records, missing):
            rows = without_mixed(part.rows)
            before, newest = newest, _newer(newest, newest_costs(rows))
            again = again or (bool(found) and newest != before)
            priced = _priced(rows, part.absent, newest)
            found.append(_of_part(rows, part.absent, priced, unit))
            if part.is_all:
                return Made(found[0], rows, priced)
            noted.add(rows)
            count += len(priced)
            del part, rows, priced  # before those of the next are read
        if not again:
            break

    def once_more() -> Iterator[Sequence[Record]]:
        return (_priced(without_mixed(part.rows), part.absent, newest) for part in parts(records, missing))

    return Made(_together(found), noted.records, Again(once_more, count))


def _newer(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: max(version, other[name]) for name, version in one.items()}


def _priced(rows: Sequence[Record], absent: Sequence[Record], newest: Mapping[str, int]) -> list[Record]:
    """What has a line or is shown beside lines, with costs that can be compared."""
    return with_members(comparable([row for row in (*rows, *absent) if not row.get("size")], newest))


def _of_part(rows: Sequence[Record], absent: Sequence[Record], priced: Sequence[Record], unit: str) -> Tables:
    lines, better, resolutions = make_lines(priced)
    bounds = make_pools(row for row in (*rows, *absent) if not row.get("size"))
    return Tables(lines, better, resolutions, bounds, make_budgets(priced, lines, unit), make_curves([*rows, *absent]))


def _together(found: Sequence[Tables]) -> Tables:
    """The tables of all data sets; where there are curves, all records are one part."""
    found = sorted((one for one in found if one.lines or one.bounds), key=_dataset)
    return Tables(
        [line for one in found for line in one.lines],
        {metric: direction for one in found for metric, direction in one.better.items()},
        {at: told for one in found for at, told in one.resolutions.items()},
        [bound for one in found for bound in one.bounds],
        [bought for one in found for bought in one.budgets],
        make_curves(()),
    )


def _dataset(one: Tables) -> str:
    return str((one.lines or one.bounds)[0]["dataset"])
