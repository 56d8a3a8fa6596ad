"""Tables as people have them: numbers, categories and dates with gaps, imputed and encoded from training rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from finefuse import FinefuseError
from finefuse_zoo.datasets._columns import names_rows
from finefuse_zoo.datasets._numbers import MISSING
from finefuse_zoo.datasets._table import Table, short

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST = 50
"""A column of texts with more different ones than this is taken for names or free text, unless `features` names it."""
YEAR = 365.25
GAP = ""
"""The category of a missing cell."""
ENCODE = '''
import datetime
import math


def encode(raw, inputs):
    """A row by the names of columns: numbers, texts and ISO dates; None is a missing value."""
    found = []
    for column in inputs["columns"]:
        cell = raw[column["name"]]
        if column["kind"] == "categories":
            found += [float(value == (cell or "")) for value in column["values"]]
            continue
        if column["kind"] == "dates" and cell is not None:
            day = (datetime.datetime.fromisoformat(cell).replace(tzinfo=None) - datetime.datetime(1970, 1, 1))
            days = day / datetime.timedelta(days=1)
            turn = 2 * math.pi * days / 365.25
            numbers = [days, math.sin(turn), math.cos(turn)]
        else:
            numbers = [cell] * len(column["mean"])
        for number, mean, factor in zip(numbers, column["mean"], column["factor"]):
            found.append(0.0 if number is None else (number - mean) * factor)
    return found
'''
Kind = Literal["numbers", "dates", "categories"]


@dataclass(frozen=True)
class Plan:
    """What each column that is used holds, the values that categories have in the file, and why others aren't used."""

    kinds: Mapping[str, Kind]
    values: Mapping[str, tuple[str, ...]]
    left: Mapping[str, str]

    @property
    def width(self) -> int:
        """How many numbers a row becomes."""
        sizes = {"numbers": 1, "dates": 3}
        return sum(sizes.get(kind) or len(self.values[name]) for name, kind in self.kinds.items())

    def remarks(self) -> list[str]:
        """What each column is taken for, and which are left out."""
        by_kind = {kind: [name for name, found in self.kinds.items() if found == kind] for kind in _KINDS}
        told = [f"{kind}: {', '.join(map(short, names))}" for kind, names in by_kind.items() if names]
        left = [f"leaves out {short(name)} ({why})" for name, why in self.left.items()]
        return [*told, *left]


_KINDS: tuple[Kind, ...] = ("numbers", "dates", "categories")


def planned(table: Table, target: str, features: tuple[str, ...] | None, aside: tuple[str, ...]) -> Plan:
    """What the columns hold.

    Raises:
        FinefuseError: if no column can be used, or one is mixed, with the line.
    """
    table.column(target)
    kinds: dict[str, Kind] = {}
    values: dict[str, tuple[str, ...]] = {}
    left: dict[str, str] = {}
    for name in features or table.columns:
        if name == target or name in aside:
            continue
        kind, why = _kind_of(table, name, named=features is not None)
        if kind is None:
            left[name] = why
            continue
        kinds[name] = kind
        if kind == "categories":
            values[name] = tuple(sorted(set(_categories(table, name))))
    if not kinds:
        raise FinefuseError(f"{table.path}: there is no column but the target that can be used")
    return Plan(kinds, values, left)


def _kind_of(table: Table, name: str, *, named: bool) -> tuple[Kind | None, str]:
    """What a column is used as; or None and why it isn't."""
    found = table.reading(name)
    if name in table.nameless and not named:
        return None, "has no name, as an index"
    if found.kind == "empty":
        return None, "empty"
    if found.kind == "numbers":
        why = "" if named else names_rows(name, found.values)
        return (None, why) if why else ("numbers", "")
    if all(cell.strip().casefold() in MISSING or date_of(cell) is not None for cell in table.column(name)):
        return "dates", ""
    if found.kind == "mixed":
        raise table.no_number(name, found.wrong)
    count = len(set(_categories(table, name)))
    return (None, f"{count} different texts") if count > MOST and not named else ("categories", "")


def date_of(cell: str) -> tuple[float, float, float] | None:
    """Days since 1970, and the time of year as sine and cosine, of a date in ISO 8601; None for anything else."""
    try:
        there = datetime.fromisoformat(cell.strip()).replace(tzinfo=None)
    except ValueError:
        return None
    days = (there - datetime(1970, 1, 1)).total_seconds() / 86400
    turn = 2 * math.pi * days / YEAR
    return days, math.sin(turn), math.cos(turn)


def _categories(table: Table, name: str) -> list[str]:
    cells = map(str.strip, table.column(name))
    return [GAP if cell.casefold() in MISSING else cell for cell in cells]


class Encoder:
    """Imputes by the mean, standardises and one-hot encodes, all fitted on some rows of a table by scikit-learn."""

    def __init__(self, plan: Plan, table: Table, rows: NDArray[np.intp]) -> None:
        import numpy as np
        from sklearn.impute import SimpleImputer
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        self.plan = plan
        numbers = self._numbers(table)[rows]
        self.imputer, self.scaler = SimpleImputer(keep_empty_features=True), StandardScaler()
        self.mean, self.factor = np.zeros(0), np.zeros(0)
        if numbers.shape[1]:
            self.scaler.fit(self.imputer.fit_transform(numbers))
            self.mean, spread = self.scaler.mean_, np.sqrt(self.scaler.var_)
            varies = spread > 1e-12 * np.abs(self.mean)
            self.factor = np.where(varies, 1 / np.where(varies, spread, 1), 0)
        self.one_hot: dict[str, Any] = {}
        self.seen: dict[str, NDArray[Any]] = {}
        for name, values in plan.values.items():
            cells = _column_of(_categories(table, name))
            encoder = OneHotEncoder(categories=[list(values)], handle_unknown="ignore", sparse_output=False)
            self.one_hot[name] = encoder.fit(_column_of(list(values)))
            self.seen[name] = encoder.transform(cells[rows]).any(0)

    def encode(self, table: Table) -> NDArray[np.float32]:
        """(N, width), in the order of the columns; a category that the fitted rows don't have is all zeros."""
        import numpy as np

        numbers = self._numbers(table)
        if numbers.shape[1]:
            numbers = self.scaler.transform(self.imputer.transform(numbers)) * (self.factor > 0)
        parts, at = [], 0
        for name, kind in self.plan.kinds.items():
            if kind == "categories":
                cells = _column_of(_categories(table, name))
                parts.append(self.one_hot[name].transform(cells) * self.seen[name])
            else:
                size = 3 if kind == "dates" else 1
                parts.append(numbers[:, at : at + size])
                at += size
        return np.hstack(parts).astype(np.float32)

    def described(self) -> dict[str, Any]:
        """What `ENCODE` needs to do the same."""
        columns, at = list[dict[str, Any]](), 0
        for name, kind in self.plan.kinds.items():
            if kind == "categories":
                seen = zip(self.plan.values[name], self.seen[name], strict=True)
                values = [value if known else None for value, known in seen]
                columns.append({"name": name, "kind": kind, "values": values})
                continue
            size = 3 if kind == "dates" else 1
            own = slice(at, at + size)
            scale = {"mean": self.mean[own].tolist(), "factor": self.factor[own].tolist()}
            columns.append({"name": name, "kind": kind, **scale})
            at += size
        return {"columns": columns}

    def example(self) -> dict[str, Any]:
        """A made-up row: means, the first category that is known, and a date."""
        made: dict[str, Any] = {}
        for column in self.described()["columns"]:
            kind = column["kind"]
            if kind == "categories":
                made[column["name"]] = next((value for value in column["values"] if value), None)
            else:
                made[column["name"]] = "2024-05-17" if kind == "dates" else round(column["mean"][0] + 1, 4)
        return made

    def _numbers(self, table: Table) -> NDArray[np.float64]:
        """(N, numbers and three for each date), NaN where one is missing."""
        import numpy as np

        parts: list[Any] = [np.empty((len(table), 0))]
        for name, kind in self.plan.kinds.items():
            if kind == "numbers":
                parts.append(np.array(table.numbers(name, gaps=True))[:, None])
            elif kind == "dates":
                parts.append(np.array([_date(table, name, row) for row in range(len(table))]))
        return np.hstack(parts)


def _date(table: Table, name: str, row: int) -> Sequence[float]:
    cell = table.column(name)[row]
    if cell.strip().casefold() in MISSING:
        return (math.nan,) * 3
    found = date_of(cell)
    if found is None:
        where = f"{table.path}, line {table.lines[row]}"
        raise FinefuseError(f"{where}: {name!r} is {short(cell)}, and a date such as 2024-05-17 is needed")
    return found


def _column_of(cells: Sequence[str]) -> NDArray[Any]:
    import numpy as np

    return np.array(cells, dtype=object)[:, None]
