"""Splits that a table names itself: a column of train, val and test, several of these, or folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from finefuse import FinefuseError
from finefuse_zoo.datasets._table import Table, short

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finefuse_zoo.datasets._cut import Cut

PARTS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""What the parts are called, in small letters."""
_CALLED = {word: part for part, words in PARTS.items() for word in words}


@dataclass(frozen=True)
class Published:
    """Columns that name each row's part, one column for each published split; or `fold`, the column of the fold.

    A row whose cell is empty is in no part.
    """

    columns: tuple[str, ...]
    fold: str | None = None

    @property
    def used(self) -> tuple[str, ...]:
        """The columns that are read."""
        return (self.fold,) if self.fold else self.columns

    def count(self, table: Table) -> int:
        """How many splits there are, to be taken in turn; 0 for a single one.

        Raises:
            FinefuseError: if there is only one fold.
        """
        if self.fold:
            return len(self._folds(table, self.fold))
        return len(self.columns) if len(self.columns) > 1 else 0

    def parts(self, table: Table, seed: int) -> list[str]:
        """Of each row "train", "val" or "test", or "" for none; `seed` counts splits or folds, around.

        Raises:
            FinefuseError: if a cell names no part, with its line, or no row is for training.
        """
        if self.fold:
            folds = self._folds(table, self.fold)
            tested = folds[seed % len(folds)]
            cells = map(str.strip, table.column(self.fold))
            return ["" if not cell else "test" if cell == tested else "train" for cell in cells]
        column = self.columns[seed % len(self.columns)]
        found = [_part(table, column, row, cell.strip()) for row, cell in enumerate(table.column(column))]
        if "train" not in found:
            raise FinefuseError(f"{table.path}: no row has 'train' in {column!r}")
        return found

    def remarks(self, table: Table) -> list[str]:
        """How many rows are in no part."""
        empty = {column: sum(not cell.strip() for cell in table.column(column)) for column in self.used}
        rows = len(table)
        return [f"{n} of {rows} rows have nothing in {name!r} and are left out" for name, n in empty.items() if n]

    def _folds(self, table: Table, column: str) -> list[str]:
        names = {cell.strip() for cell in table.column(column)} - {""}
        if len(names) < 2:
            raise FinefuseError(f"{table.path}: {column!r} has {len(names)} fold, and two are needed")
        return sorted(names, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))


def _part(table: Table, column: str, row: int, cell: str) -> str:
    if cell and cell.lower() not in _CALLED:
        where = f"{table.path}, line {table.lines[row]}"
        raise FinefuseError(f"{where}: {column!r} is {short(cell)}, and train, val or test is expected")
    return _CALLED.get(cell.lower(), "")


def rows_of(
    parts: Sequence[str], y: NDArray[np.int64], names: Sequence[str], cut: Cut, seed: int
) -> tuple[NDArray[Any], ...]:
    """Sorted row numbers for train, val and test; what the table gives no rows is cut from those for training.

    Raises:
        FinefuseError: if a class has too few of these.
    """
    import numpy as np

    given = np.array(parts)
    val, test = 0 if (given == "val").any() else cut.val, None if (given == "test").any() else cut.test
    own = replace(cut, val=val, test=test, found=f"{cut.found} for training")
    drawn = own.rows(np.where(given == "train", y, -1), names, seed)
    named = (np.flatnonzero((given == part) & (y >= 0)) for part in PARTS)
    return tuple(
        chosen if part == "train" or not len(rows) else rows
        for part, chosen, rows in zip(PARTS, drawn, named, strict=True)
    )
