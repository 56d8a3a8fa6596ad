"""Rows that a name alone doesn't tell apart: by which options they can be. Imports no pandas."""

from __future__ import annotations

from collections.abc import Sequence

from finefuse.errors import FinefuseError, did_you_mean
from finefuse.judge.names import Names
from finefuse.types import Record

LISTED = 6
"""Names that are listed where several match."""
AXES = ("dataset", "backbone", "pool", "round")


def narrowed(wanted: str, rows: list[Record], name: str, value: str | int, names: Names) -> list[Record]:
    """The rows that have this value, in full or by a short name.

    Raises:
        FinefuseError: if none has.
    """
    found = [row for row in rows if value in (row[name], row.get(f"{name}_use"), names.things.get(row[name]))]
    if found:
        return found
    there = list(dict.fromkeys(str(row[name]) for row in rows if row[name] != ""))
    hint = did_you_mean(str(value), there) or (f"; there are {listed(there)}" if there else "; it has none")
    raise FinefuseError(f"no row of {wanted!r} has the {name} {value!r}{hint}")


def telling_apart(rows: Sequence[Record]) -> str:
    """The options that tell rows apart: `--dataset or --pool`; "" if there are none."""
    return " or ".join(f"--{name}" for name in AXES if len({row.get(name, 0) for row in rows}) > 1)


def listed(names: list[str]) -> str:
    """Some of the names, and how many more there are."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(map(repr, names[:LISTED])) + more
