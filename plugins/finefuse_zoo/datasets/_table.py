"""Delimited text files: columns by name, and one clear sentence about the line where something is wrong."""

from __future__ import annotations

import codecs
import csv
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Literal

from finefuse import FinefuseError
from finefuse_zoo.datasets._numbers import Column, column, looks_like_one

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""The first bytes by which a file tells its encoding; those of UTF-32 may begin with those of UTF-16."""
NEEDED = "and a finite number is needed"
SEPARATORS = ("\t", ";", ",", "|")


@dataclass(frozen=True)
class Format:
    """How a file is written; `separator` None is a tab for `.tsv`, else a comma, `quotes` None is all but with tabs."""

    separator: str | None = None
    encoding: str = "utf-8"
    header: bool = True
    quotes: bool | None = None
    decimal: str = "."
    narrow: bool = False
    """Whether one column is enough."""


@dataclass(frozen=True, eq=False)
class Table:
    """Cells of a file by columns, for each row the line it ends on, and the columns that the header has no name for."""

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]
    how: Format = field(default_factory=Format)
    nameless: frozenset[str] = frozenset()
    _readings: dict[str, Column] = field(default_factory=dict)

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

    def reading(self, name: str) -> Column:
        """What a column holds."""
        if name not in self._readings:
            self._readings[name] = column(self.column(name), self.how.decimal)
        return self._readings[name]

    def numbers(self, name: str, *, gaps: bool = False) -> array[float]:
        """One column as numbers; NaN where one is missing, if there may be `gaps`.

        Raises:
            FinefuseError: if a cell is none, with its line.
        """
        found = self.reading(name)
        if found.kind in ("texts", "mixed"):
            raise self.no_number(name, found.wrong)
        if found.missing and not gaps:
            first = next(row for row, value in enumerate(found.values) if value != value)
            more = f", as are {found.missing - 1} more of its cells" if found.missing > 1 else ""
            raise FinefuseError(f"{self.path}, line {self.lines[first]}: {name!r} is empty{more}, {NEEDED}")
        return found.values

    def no_number(self, name: str, row: int) -> FinefuseError:
        """The sentence about a cell that should hold a number."""
        cell = self.columns[name][row]
        hint = ""
        if looks_like_one(cell) and "," in cell and self.how.decimal == ".":
            hint = '; decimal = "," reads the comma as the decimal point'
        elif looks_like_one(cell) and "." in cell and self.how.decimal == ",":
            hint = '; decimal = "," allows no point'
        where = f"{self.path}, line {self.lines[row]}: {name!r} is {short(cell)}"
        return FinefuseError(f"{where}, {NEEDED}{hint}")

    def labels(self, name: str) -> list[str]:
        """One column as labels, without the blanks around them.

        Raises:
            FinefuseError: if one is empty, with its line.
        """
        found = [cell.strip() for cell in self.column(name)]
        if "" in found:
            raise FinefuseError(f"{self.path}, line {self.lines[found.index('')]}: the label {name!r} is empty")
        return found

    def classes(self, name: str) -> list[str]:
        """The labels in one column, sorted as text.

        Raises:
            FinefuseError: if a label is empty, or there is only one.
        """
        found = sorted(set(self.labels(name)))
        if len(found) == 1:
            raise FinefuseError(f"{self.path}: all labels in {name!r} are {short(found[0])}, and two are needed")
        return found

    def class_numbers(self, name: str, classes: Sequence[str]) -> list[int]:
        """One column as class numbers.

        Raises:
            FinefuseError: if a label is no class, with its line.
        """
        numbers, found = {label: number for number, label in enumerate(classes)}, self.labels(name)
        for label, line in zip(found, self.lines, strict=True):
            if label not in numbers:
                raise FinefuseError(
                    f"{self.path}, line {line}: the training file has no label {short(label)} in {name!r}"
                )
        return [numbers[label] for label in found]


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
    with _cells_of_any_length():
        rows = list(_rows(path, how))
    if not rows:
        raise FinefuseError(f"{path}: the file is empty")
    line, first = rows[0]
    if len(first) == 1 and not how.narrow:
        raise FinefuseError(f"{path}, line {line}: there is one column only, {short(first[0])}{_parted(first[0])}")
    given = [name.strip() for name in first] if how.header else [str(number) for number in range(1, len(first) + 1)]
    names = [name or f"column {place}" for place, name in enumerate(given, 1)]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise FinefuseError(f"{path}, line {line}: more than one column is called {', '.join(map(repr, twice))}")
    if how.header:
        del rows[0]
    if not rows:
        raise FinefuseError(f"{path}: there is a header and no row below it")
    for number, row in rows:
        if len(row) != len(names):
            fields = "1 field" if len(row) == 1 else f"{len(row)} fields"
            raise FinefuseError(f"{path}, line {number}: {fields} where {len(names)} are expected")
    columns = dict(zip(names, map(list, zip(*(row for _, row in rows), strict=True)), strict=True))
    nameless = frozenset(name for name, said in zip(names, given, strict=True) if not said)
    return Table(path, columns, [number for number, _ in rows], how, nameless)


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


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    """Python's own limit is 131,072 characters, for the whole process."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _decoded(path: Path, encoding: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FinefuseError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    marked = next((name for mark, name in MARKS if data.startswith(mark)), "")
    if marked not in codecs.lookup(encoding).name.replace("_", "-"):
        raise FinefuseError(f'{path} begins with the mark of {marked}, not of {encoding}: say encoding = "{marked}"')
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "" if encoding == "latin-1" else '; is encoding = "latin-1" right?'
        byte = f"the byte 0x{data[error.start]:02x}"
        raise FinefuseError(f"{path}, line {line}: {byte} can't be read as {encoding}{hint}") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        hint = '; is encoding = "utf-16-le" right?' if data.count(0) * 3 > len(data) else "; this is no text file"
        raise FinefuseError(f"{path}, line {line}: there is a character of number 0{hint}")
    return text


def may_be_utf8(path: Path, encoding: str) -> bool:
    """Whether a file that is read in another encoding has signs beyond ASCII, and all of them are right in UTF-8."""
    data = path.read_bytes()
    if data.isascii() or codecs.lookup(encoding).name.startswith("utf"):
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def short(cell: str) -> str:
    """A cell as it is quoted in a sentence."""
    return repr(cell if len(cell) <= 40 else f"{cell[:37]}...")


def _parted(line: str) -> str:
    """A question about the separator, if the only cell of a line holds another one."""
    found = max(SEPARATORS, key=line.count)
    if found not in line:
        return ", and beside the target there has to be another"
    return f"; is separator = {json.dumps(found)} right?"


def _near(word: str, known: Iterable[str]) -> str:
    by_case = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), by_case, n=1)
    if near:
        return f"; did you mean {by_case[near[0]]!r}?"
    listed = list(by_case.values())
    return f", only {', '.join(listed[:20])}" + (f" and {len(listed) - 20} more" if len(listed) > 20 else "")
