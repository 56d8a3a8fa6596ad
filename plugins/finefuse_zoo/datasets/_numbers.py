"""Cells of a table as numbers, and whether a column is one of numbers."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Literal

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
"""What a missing value is written as, in small letters and without the blanks around it."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ALIKE = re.compile(r"[+-]?(\d+,\d+([eE][+-]?\d+)?|,\d+|\d+(_\d+)+|\d{1,3}([., ']\d{3})+([.,]\d+)?|inf(inity)?)", re.I)


@dataclass(frozen=True)
class Column:
    """What a column holds: its values, NaN where there is none, and how many are missing.

    In a column of texts, or one that is mixed, `wrong` is the first row that holds no number.
    """

    kind: Literal["numbers", "texts", "mixed", "empty"]
    values: array[float]
    missing: int = 0
    wrong: int = 0


def column(cells: Sequence[str], decimal: str) -> Column:
    """Read a column. It is "mixed" where more than half of what is there looks like numbers and some of it is none."""
    if decimal == "." and (plain := _plain(cells)) is not None:
        return Column("numbers", plain)
    values, missing, wrong, alike = array("d"), 0, [], 0
    for row, cell in enumerate(cells):
        value = number(cell, decimal)
        if value is None and cell.strip().casefold() in MISSING:
            missing, value = missing + 1, nan
        elif value is None:
            wrong.append(row)
            alike += looks_like_one(cell)
        values.append(nan if value is None else value)
    filled = len(cells) - missing
    if not filled:
        return Column("empty", values, missing)
    if not wrong:
        return Column("numbers", values, missing)
    mixed = 2 * (filled - len(wrong) + alike) > filled
    return Column("mixed" if mixed else "texts", values, missing, wrong[0])


def number(cell: str, decimal: str) -> float | None:
    """The finite number that a cell holds, blanks around it aside; None for anything else."""
    text = cell.strip()
    if decimal == ",":
        text = "" if "." in text else text.replace(",", ".")
    value = float(text) if _NUMBER.fullmatch(text) else None
    return value if value is not None and isfinite(value) else None


def looks_like_one(cell: str) -> bool:
    """Whether a cell that holds no number is perhaps meant to be one: "3,14", "1_000", "1,000.5", "1.5", "inf"."""
    text = cell.strip()
    return _ALIKE.fullmatch(text) is not None or _NUMBER.fullmatch(text) is not None


def _plain(cells: Sequence[str]) -> array[float] | None:
    """The same by Python's own reading, which is quick, if that can't differ."""
    try:
        values = array("d", map(float, cells))
    except ValueError:
        return None
    return values if all(map(isfinite, values)) and not any("_" in cell for cell in cells) else None
