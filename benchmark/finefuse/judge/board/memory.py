"""The memory that all of a line takes, as its seconds have the members' too: the highest peak on the way to it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from finefuse.judge.frame import number
from finefuse.types import Cell, Record

WHOLE = "peak_memory_whole"
"""The field of a row that has it; made here, so it is in no `records.jsonl`."""
CHOSEN_FROM = ("trial ", "choice ")
"""How the parts of a key are called that were tried."""
METHODS = ("trial", "tune", "fuse")


def with_members(records: Sequence[Record]) -> list[Record]:
    """The records, those of lines with their own peak or that of a member, trial or earlier round if it is higher.

    It is NaN where one of these has no row, or no peak was measured. The pretrained network doesn't count, and neither
    do members of a fusion that makes its own.
    """
    made: dict[str, Record] = {}
    for row in records:
        if row["status"] == "ok" and row["kind"] in METHODS and row.get("artifact"):
            made.setdefault(row["artifact"], row)
    scored = (row["status"] == "ok" and Cell.of_line(row) for row in records)
    return [row | {WHOLE: _peak(row, made)} if ok else row for row, ok in zip(records, scored, strict=True)]


def _peak(row: Record, made: Mapping[str, Record]) -> float:
    if next(_inputs(row), None) is None:
        return number(row, "peak_memory")
    peaks, seen, left = list[float](), set[str](), [row]
    while left:
        one = left.pop()
        peaks.append(number(one, "peak_memory"))
        for artifact in _inputs(one):
            if artifact in seen:
                continue
            seen.add(artifact)
            if artifact not in made:
                return math.nan
            left.append(made[artifact])
    return math.nan if any(map(math.isnan, peaks)) else max(peaks)


def _inputs(row: Record) -> Iterator[str]:
    """The artifacts whose making a row's own peak leaves out; of a row of a former version without names, ""."""
    parts = row.get("parts") or {}
    if row["kind"] != "tune" and row.get("seconds_members"):
        yield from (row.get("fused") or {"": ""}).values()
    if row["round"] or row["pool"]:
        yield from filter(None, [parts.get("start")])
    if row.get("trials"):
        yield from (text for name, text in parts.items() if name.startswith(CHOSEN_FROM))
