"""The rows that a name means: those of a line of the board, or one row by its cell or key; and what it is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from finefuse.errors import FinefuseError, did_you_mean
from finefuse.judge.board.lines import Place
from finefuse.judge.names import Names
from finefuse.judge.narrowing import listed, narrowed, telling_apart
from finefuse.records import Results
from finefuse.types import Cell, Record, line_name

KEY = re.compile(r"[0-9a-f]{6,32}")
ARTIFACT = re.compile(r"[0-9a-f]{32}")


class Part(NamedTuple):
    """Something that a row is made of: what for, its artifact, and the row that made it, if there is one here."""

    role: str
    artifact: str
    row: Record | None


def find_rows(results: Results, wanted: str, narrow: Mapping[str, str | int | None]) -> list[Record]:
    """The rows of one line, in the order of their seeds, or the one row of a cell or key.

    `wanted` is a line as on the board (`full`, `soup of POOL`, `full on BACKBONE`), the text of a cell, or the
    beginning of a key or artifact. `narrow` has the values that `dataset`, `backbone`, `pool`, `seed` and `round` must
    have; a data set or backbone may go by a short name or its plugin's.

    Raises:
        FinefuseError: if nothing or several lines match, or what matches has no row yet.
    """
    rows, names = results.rows, Names.in_rows(results.rows)
    ways = (_of_line, _of_cell, _of_key)
    found = next(filter(None, ([row for row in rows if way(row, wanted)] for way in ways)), None)
    if found is None:
        raise _unknown(results, wanted)
    for name, value in narrow.items():
        if value is not None:
            found = narrowed(wanted, found, name, value, names)
    lines = {Cell.of(row)._replace(seed=0): row for row in found}
    if len(lines) > 1:
        raise _ambiguous(wanted, list(lines.values()))
    return sorted(found, key=lambda row: row["seed"])


def made_of(row: Record, rows: Sequence[Record]) -> list[Part]:
    """What a row rests on, directly: pretrained network, members, the network that it started from, trials."""
    makers: dict[str, Record] = {}
    for other in rows:
        if other["kind"] != "time" and other.get("artifact"):
            makers.setdefault(other["artifact"], other)
    inputs = {name: text for name, text in (row.get("parts") or {}).items() if ARTIFACT.fullmatch(text)}
    inputs |= {f"member {name}": artifact for name, artifact in (row.get("fused") or {}).items()}
    return [Part(role, artifact, makers.get(artifact)) for role, artifact in inputs.items()]


def names_of(row: Record) -> list[str]:
    """What the line of a row may be called; [] for one without a line."""
    if not Cell.of(row).has_line:
        return []
    place = Place.of(row)
    pools = dict.fromkeys(["", place.pool])
    return [line_name(place.strategy, pool, backbone) for backbone in ("", place.backbone) for pool in pools]


def _of_line(row: Record, wanted: str) -> bool:
    return wanted in names_of(row)


def _of_cell(row: Record, wanted: str) -> bool:
    return bool(row["cell"] == wanted)


def _of_key(row: Record, wanted: str) -> bool:
    return bool(KEY.fullmatch(wanted)) and str(row["key"]).startswith(wanted)


def _ambiguous(wanted: str, rows: list[Record]) -> FinefuseError:
    by = telling_apart(rows) or "more of its key, or its cell"
    cells = listed([row["cell"] for row in rows])
    return FinefuseError(f"{wanted!r} means {len(rows)} lines; narrow it by {by}: {cells}.")


def _unknown(results: Results, wanted: str) -> FinefuseError:
    if wanted in map(str, results.missing):
        return FinefuseError(f"{wanted} is planned and has no row yet; `finefuse run` carries on with the suite.")
    names = list(dict.fromkeys(name for row in results.rows for name in names_of(row)))
    planned = {cell.label for cell in results.missing if isinstance(cell, Cell)}
    if wanted in planned:
        return FinefuseError(f"{wanted!r} is planned and has no row yet; `finefuse run` carries on with the suite.")
    hint = did_you_mean(wanted, [*names, *(row["cell"] for row in results.rows)])
    lines = listed([name for name in names if " on " not in name])
    return FinefuseError(f"no line, cell or key is called {wanted!r}{hint or f'; there are {lines}'}")
