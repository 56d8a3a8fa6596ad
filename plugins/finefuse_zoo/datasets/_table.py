"""Delimited text files: columns by name, and one clear sentence about the line where something is wrong."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import Literal

from finefuse import FinefuseError


@dataclass(frozen=True)
class Format:
    """How a file is written; `separator` None is a tab for `.tsv`, else a comma, `quotes` None is all but with tabs."""

    separator: str | None = None
    encoding: str = "utf-8"
    header: bool = True
    quotes: bool | None = None


@dataclass(frozen=True)
class Table:
    """Cells of a file by columns, and for each row the line it ends on."""

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str) -> list[str]:
        """The cells of one column.

        Raises:
            FinefuseError: if there is no such column.
        """
        if name not in self.columns:
            raise FinefuseError(f"{self.path}: there is no column {name!r}{_near(name, self.columns)}")
        return self.columns[name]

    def numeric(self) -> list[str]:
        """The columns whose first cell is a number."""
        return [name for name, cells in self.columns.items() if _number(cells[0]) is not None]

    def numbers(self, name: str) -> array[float]:
        """One column as numbers.

        Raises:
            FinefuseError: if a cell is none, with its line.
        """
        found = array("d")
        for cell, line in zip(self.column(name), self.lines, strict=True):
            number = _number(cell)
            if number is None:
                told = f"is {_short(cell)}" if cell.strip() else "is empty"
                raise FinefuseError(f"{self.path}, line {line}: {name!r} {told}, and a finite number is needed")
            found.append(number)
        return found

    def classes(self, name: str) -> list[str]:
        """The labels in one column, sorted as text.

        Raises:
            FinefuseError: if a label is empty, or there is only one.
        """
        cells = self.column(name)
        found = sorted(set(cells))
        if "" in found:
            raise FinefuseError(f"{self.path}, line {self.lines[cells.index('')]}: the label {name!r} is empty")
        if len(found) == 1:
            raise FinefuseError(f"{self.path}: all labels in {name!r} are {_short(found[0])}, and two are needed")
        return found

    def labels(self, name: str, classes: Sequence[str]) -> list[int]:
        """One column as class numbers.

        Raises:
            FinefuseError: if a label is no class, with its line.
        """
        numbers = {label: number for number, label in enumerate(classes)}
        for cell, line in zip(self.column(name), self.lines, strict=True):
            if cell not in numbers:
                raise FinefuseError(
                    f"{self.path}, line {line}: the training file has no label {_short(cell)} in {name!r}"
                )
        return [numbers[cell] for cell in self.columns[name]]


def read_table(path: Path, how: Format) -> Table:
    """The table in a file; the last few are remembered for as long as their files stay as they are.

    Raises:
        FinefuseError: if there is no such file, or it is no such table.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise FinefuseError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    return _read(path, how, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _read(path: Path, how: Format, _changed: int, _size: int) -> Table:
    rows = _rows(path, how)
    line, first = next(rows, (0, []))
    if not line:
        raise FinefuseError(f"{path}: the file is empty")
    names = [name.strip() for name in first] if how.header else [str(number) for number in range(1, len(first) + 1)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise FinefuseError(f"{path}, line {line}: more than one column is called {', '.join(map(repr, twice))}")
    columns: list[list[str]] = [[] for _ in names]
    lines = array("q")
    for number, row in rows if how.header else chain([(line, first)], rows):
        if len(row) != len(names):
            fields = "1 field" if len(row) == 1 else f"{len(row)} fields"
            raise FinefuseError(f"{path}, line {number}: {fields} where {len(names)} are expected")
        lines.append(number)
        for column, cell in zip(columns, row, strict=True):
            column.append(cell)
    if not lines:
        raise FinefuseError(f"{path}: there is a header and no row below it")
    return Table(path, dict(zip(names, columns, strict=True)), lines.tolist())


def _rows(path: Path, how: Format) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and fields of all rows but empty ones."""
    separator = how.separator or ("\t" if path.suffix.lower() == ".tsv" else ",")
    quotes = separator != "\t" if how.quotes is None else how.quotes
    text = StringIO(_decoded(path, how.encoding), newline="")
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    reader = csv.reader(text, delimiter=separator, quoting=quoting, strict=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise FinefuseError(f"{path}, line {reader.line_num}: {error}; is `quotes` right?") from error
        if row:
            yield reader.line_num, row


def _decoded(path: Path, encoding: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FinefuseError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "" if encoding == "latin-1" else '; is encoding = "latin-1" right?'
        byte = f"the byte 0x{data[error.start]:02x}"
        raise FinefuseError(f"{path}, line {line}: {byte} can't be read as {encoding}{hint}") from error


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _short(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else f"{cell[:37]}...")


def _near(word: str, known: Iterable[str]) -> str:
    by_case = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), by_case, n=1)
    return f"; did you mean {by_case[near[0]]!r}?" if near else f", only {', '.join(by_case.values())}"
