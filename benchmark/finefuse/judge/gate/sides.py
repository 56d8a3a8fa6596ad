"""The two results folders of a comparison: rows by cell, and what is lacking."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finefuse.errors import StoreError
from finefuse.judge.frame import number
from finefuse.records import read_results, why
from finefuse.types import Cell, Judgement, Record

_QUANTILE = re.compile(r"latency\.\d+\.p\d+")
Rows = Mapping[Cell | str, Record]


@dataclass(frozen=True)
class Side:
    """A folder: `rows` of lines and latencies, `bases` of pretrained networks, and planned cells without a row.

    `lacking` are all of these, `absent` those that are judged. `refused` has a sentence per damaged line, and `gate` is
    the suite's table of that name. Without a plan nothing tells whether rows are lacking.
    """

    folder: Path
    rows: Rows
    bases: Rows
    lacking: tuple[Cell | str, ...]
    refused: tuple[str, ...]
    planned: bool
    gate: Mapping[str, Any]

    @property
    def absent(self) -> tuple[Cell | str, ...]:
        """Planned cells that are judged and have no row; of a former version's plan only the text may be known."""
        return tuple(cell for cell in self.lacking if isinstance(cell, str) or judged(cell))


def judged(cell: Cell) -> bool:
    """Whether a cell gets a judgement: those that lines of the board rest on, and their latencies."""
    return cell.has_line or cell.kind == "time"


def read_side(folder: Path) -> Side:
    """Read a results folder.

    Raises:
        StoreError: if it can't be read.
    """
    found = read_results(folder)
    rows = {Cell.of(row): row for row in found.rows}
    own: Rows = {cell: row for cell, row in rows.items() if judged(cell)}
    bases: Rows = {cell: row for cell, row in rows.items() if cell.kind == "pretrain"}
    return Side(folder, own, bases, tuple(found.missing), tuple(found.refused), found.planned, found.gate)


def refuse_empty(base: Side) -> None:
    """Whether a baseline holds anything to compare with.

    Raises:
        StoreError: if not.
    """
    if not any(isinstance(cell, Cell) and cell.has_line for cell in base.rows):
        raise StoreError(f"{base.folder}: the baseline has no row of a scheme or fusion to compare with.")


def all_cells(base: Side, new: Side) -> Iterator[Cell | str]:
    """Every cell that is judged, once."""
    yield from dict.fromkeys([*base.rows, *new.rows, *new.absent])


def untested(old: Record | None, new: Record | None, *, planned: bool) -> tuple[Judgement | None, str]:
    """The judgement of a cell that needs no test, and why; None if both rows are good and of the same examples."""
    before = "" if old is None else old["status"]
    if new is None:
        if before in ("", "ok") or planned:
            return "missing", "planned, but without a row" if planned else "not in the new results"
        return "not-comparable", f"{before} in the base, not in the new results"
    if new["status"] == before == "skipped":
        return "skipped", f"skipped in both: {new.get('reason', '')}"
    if new["status"] != "ok":
        return "failed", f"{new['status']}: {why(new)}"
    if wrong := _undefined(new):
        return "failed", f"{', '.join(wrong)} is NaN"
    if old is None or before != "ok":
        return "new", f"{before} in the base" if before else "not in the base"
    return _mismatch(old, new)


def latencies(row: Record) -> list[str]:
    """The fields of a row that are seconds per call, without how well these are known."""
    return [name for name in row if _QUANTILE.fullmatch(name)]


def _undefined(row: Record) -> list[str]:
    """What should be a number in a row that is ok, and isn't."""
    if row["kind"] == "time":
        return [name for name in latencies(row) if not math.isfinite(number(row, name))]
    names = [*(f"test.{metric}" for metric in row["metrics"]), *(name for name in row if name.startswith("also."))]
    return [name.removeprefix("test.") for name in names if math.isnan(number(row, name))]


def _mismatch(old: Record, new: Record) -> tuple[Judgement | None, str]:
    """The judgement of two good rows that can't be compared."""
    if old["kind"] == "time":
        gone = [name for name in latencies(old) if name not in new]
        return ("not-comparable", f"{', '.join(gone)} is no longer measured") if gone else (None, "")
    if math.isnan(number(old, f"test.{old['metrics'][0]}")):
        return "new", "NaN in the base"
    if old["metrics"][0] != new["metrics"][0]:
        return "not-comparable", f"ranked by {old['metrics'][0]} in the base, by {new['metrics'][0]} now"
    further = [name for name in old if name.startswith("also.") and name not in new]
    if gone := [*(metric for metric in old["metrics"] if metric not in new["metrics"]), *further]:
        return "not-comparable", f"{', '.join(gone)} is no longer measured"
    metric = old["metrics"][0]
    if old[f"better.{metric}"] != new[f"better.{metric}"]:
        return "not-comparable", f"{metric} was better when {old[f'better.{metric}']}, and now when the opposite"
    if any(old.get(name) != new.get(name) or not new.get(name) for name in ("examples", "n_test")):
        return "not-comparable", "other test examples"
    return None, ""
