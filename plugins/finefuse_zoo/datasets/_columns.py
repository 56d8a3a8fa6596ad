"""Which columns of a table are used as numbers, which aren't, and why; and remarks on suspicious labels."""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from statistics import correlation

from finefuse import FinefuseError
from finefuse_zoo.datasets._table import Table, short

NAMED = 8
"""The most columns that are named in a remark; further ones are counted."""
ROWS = 10
"""The number of rows from which whole numbers without a gap are taken for row numbers."""
CLOSE = 0.995
"""The correlation with the target from which a column is suspected to be a second target."""
_ID = re.compile(r"(.*[ _.-])?(id|idx|index|uuid|guid)|.*[a-z]I[dD]", re.IGNORECASE)


@dataclass(frozen=True)
class Chosen:
    """Columns that are used, why each of the others isn't, and how many cells are missing in those that are used."""

    used: tuple[str, ...]
    left: Mapping[str, str]
    missing: Mapping[str, int]


@lru_cache(maxsize=8)
def choose(table: Table, target: str, features: tuple[str, ...] | None, aside: tuple[str, ...] = ()) -> Chosen:
    """The columns of `features`; without these all of numbers that neither count nor name the rows, nor are `aside`.

    Raises:
        FinefuseError: if there is none, or one is meant to be of numbers and a cell holds none, with its line.
    """
    table.column(target)
    for name in features or ():
        table.column(name)
    left, missing, used = {}, {}, []
    for name in table.columns:
        if name == target:
            continue
        if name in aside:
            left[name] = "names the splits"
            continue
        if features is not None and name not in features:
            left[name] = "not in `features`"
            continue
        why = _why_not(table, name, named=features is not None)
        if why:
            left[name] = why
            continue
        used.append(name)
        if count := table.reading(name).missing:
            missing[name] = count
    if not used:
        told = "there is no column of numbers but the target; is `text` missing?"
        if countable := [name for name, why in left.items() if why not in ("texts", "empty")]:
            told = f"no column can be used, {_reasons(left, countable)}; name those that you want in `features`"
        raise FinefuseError(f"{table.path}: {told}")
    return Chosen(tuple(features or used), left, missing)


def _why_not(table: Table, name: str, *, named: bool) -> str:
    """Why a column isn't used, "" if it is; one that is `named` in `features` always is."""
    found = table.reading(name)
    if found.kind == "mixed" or (named and found.kind == "texts"):
        raise table.no_number(name, found.wrong)
    if named:
        return ""
    if name in table.nameless:
        return "has no name, as an index"
    if found.kind != "numbers":
        return found.kind
    return names_rows(name, found.values)


def names_rows(name: str, values: array[float]) -> str:
    """Why a column of numbers only identifies rows; "" if it doesn't."""
    if not all(map(float.is_integer, values)) or len(set(values)) < len(values):
        return ""
    if len(values) >= ROWS and max(values) - min(values) == len(values) - 1:
        return "counts the rows"
    return "names the rows" if _ID.fullmatch(name) else ""


def remarks_on_columns(
    table: Table,
    target: str,
    features: tuple[str, ...] | None,
    *,
    regression: bool,
    aside: tuple[str, ...] = (),
) -> list[str]:
    """Which columns are used, which aren't and why, and which of those that are look odd."""
    chosen = choose(table, target, features, aside)
    told = [f"uses {_counted(chosen.used)} of {table.path.name}"]
    if chosen.left:
        told.append(f"leaves out {_reasons(chosen.left, list(chosen.left))}")
    told += remarks_on_values(table, target, chosen.used, regression=regression)
    if chosen.missing:
        cells = sum(chosen.missing.values())
        told.append(
            f"{cells} empty {'cell' if cells == 1 else 'cells'} in {_listed(chosen.missing)}: the column's mean"
        )
    return told


def remarks_on_values(table: Table, target: str, numbers: Iterable[str], *, regression: bool) -> list[str]:
    """Which columns of numbers are constant, or may be a second target."""
    told = []
    readings = {name: table.reading(name).values for name in numbers}
    if constant := [name for name, values in readings.items() if len(set(values)) == 1]:
        told.append(f"{_listed(constant)}: always the same value")
    found = table.numbers(target) if regression else table.class_numbers(target, table.classes(target))
    says = _orders if regression else _stands_for
    if second := [name for name, values in readings.items() if says(values, found)]:
        told.append(f"{_listed(second)}: tells the target {target!r} by itself; is it a second one?")
    return told


def remarks_on_labels(table: Table, target: str) -> list[str]:
    """Labels that had blanks around them, and those that may be meant to be the same."""
    told, cells = [], table.column(target)
    if blank := sum(cell != cell.strip() for cell in cells):
        told.append(f"{blank} labels in {target!r} have blanks around them, which don't count")
    alike = defaultdict(list)
    for label in table.classes(target):
        alike[" ".join(unicodedata.normalize("NFKC", label).casefold().split())].append(label)
    told += [f"labels that differ in writing only: {', '.join(map(short, g))}" for g in alike.values() if len(g) > 1]
    return told


def remark_on_overlap(train: Table, test: Table, columns: Sequence[str]) -> list[str]:
    """How many rows of the test file are also in the training file."""
    known = Counter(zip(*(train.column(name) for name in columns), strict=True))
    again = sum(row in known for row in zip(*(test.column(name) for name in columns), strict=True))
    return [f"{again} of {len(test)} rows of {test.path.name} are in {train.path.name} too"] if again else []


def _orders(values: array[float], target: Sequence[float]) -> bool:
    """Whether a column rises or falls with the target, row by row or all but so."""
    pairs = sorted((x, y) for x, y in zip(values, target, strict=True) if x == x)
    steps = [y - before for (_, before), (_, y) in pairwise(pairs)]
    xs, ys = ([pair[i] for pair in pairs] for i in (0, 1))
    if len(set(xs)) < 3 or len(set(ys)) < 3:
        return False
    return min(steps) >= 0 or max(steps) <= 0 or abs(correlation(xs, ys)) > CLOSE


def _stands_for(values: array[float], target: Sequence[float]) -> bool:
    """Whether each value goes with one class and each class with one value."""
    return len(set(values)) == len(set(target)) == len(set(zip(values, target, strict=True)))


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(map(short, found[:NAMED])) + (f" and {len(found) - NAMED} more" if len(found) > NAMED else "")


def _counted(names: Sequence[str]) -> str:
    return f"the column {_listed(names)}" if len(names) == 1 else f"{len(names)} columns, {_listed(names)},"


def _reasons(left: Mapping[str, str], names: Sequence[str]) -> str:
    by_reason = defaultdict(list)
    for name in names:
        by_reason[left[name]].append(name)
    return "; ".join(f"{_listed(group)} ({why})" for why, group in by_reason.items())
