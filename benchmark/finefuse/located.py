"""Rows that stay in their file until they are asked for: for results that are too large to be held at once."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from finefuse.jsonl import load
from finefuse.rows import Former, contradiction, wrong_with
from finefuse.types import Cell, Record


def lines(file: Path) -> Iterator[tuple[int, Any]]:
    """Where each line of a file begins, and what it holds; a torn last one, which a killed run leaves, is left out."""
    start = 0
    with file.open("rb") as read:
        for line in read:
            value = load(line)
            if line.endswith(b"\n") or isinstance(value, dict):
                yield start, value
            start += len(line)


class Stored(Sequence[Record]):
    """Rows by where they begin in their file, read anew each time they are asked for; rows may be appended to it.

    `crossing` says that rows of one data set tell about those of another.
    """

    def __init__(self, file: Path, cells: Mapping[Cell, int], *, crossing: bool) -> None:
        self.file, self.starts, self.crossing = file, array("q", cells.values()), crossing
        self._of: dict[str, array[int]] = {}
        for cell, start in cells.items():
            self._of.setdefault(cell.dataset, array("q")).append(start)

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> list[Record]: ...
    def __getitem__(self, at: int | slice) -> Record | list[Record]:
        return list(self._read(self.starts[at])) if isinstance(at, slice) else next(self._read([self.starts[at]]))

    def __iter__(self) -> Iterator[Record]:
        return self._read(self.starts)

    @property
    def datasets(self) -> Sequence[str]:
        """The data sets, as they come."""
        return list(self._of)

    def of(self, dataset: str) -> list[Record]:
        """The rows of a data set."""
        return list(self._read(self._of[dataset]))

    def _read(self, starts: Sequence[int]) -> Iterator[Record]:
        with self.file.open("rb") as read:
            at = 0
            for start in starts:
                if start != at:
                    read.seek(start)
                line = read.readline()
                at = start + len(line)
                yield load(line)


class Selection:
    """The current row of each cell, by where it begins: the last one, or the last with the planned key."""

    def __init__(self, keys: Mapping[Cell | str, str] | None) -> None:
        self.keys = keys
        self.starts: dict[Cell, int] = {}
        self.suite: str | None = None
        self.crossing = False

    def add(self, start: int, row: Record) -> None:
        """Take a sound row, which comes after those before."""
        cell = Cell.of(row)
        if self.keys is None or self.keys.get(cell) == row["key"]:
            self.starts[cell] = start
            self.suite = row.get("suite")
            self.crossing = self.crossing or bool(row.get("tasks") or cell.size)


def select(file: Path, keys: Mapping[Cell | str, str] | None) -> tuple[Selection, list[tuple[int, Any, str]]]:
    """The current rows of a file; and for each damaged line its number, what it holds, and what is wrong with it."""
    found, former = Selection(keys), Former()
    refused: list[tuple[int, Any, str]] = []
    for number, (start, row) in enumerate(lines(file), 1):
        if said := wrong_with(row):
            refused.append((number, row, said))
        else:
            former.add(number, row)
            found.add(start, row)
    if wrong := former.wrong():
        passed = {number for number, _, _ in refused}
        found = Selection(keys)
        for number, (start, row) in enumerate(lines(file), 1):
            if number in wrong:
                refused.append((number, row, contradiction(row, wrong[number])))
            elif number not in passed:
                found.add(start, row)
    return found, sorted(refused, key=lambda one: one[0])
