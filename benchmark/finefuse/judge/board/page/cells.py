"""The records behind the lines, column by column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from finefuse.judge.board.memory import WHOLE
from finefuse.types import Record

LEFT_OUT = ("correct", "losses", "parts", "schema", "suite", WHOLE)
"""Fields that stay in `records.jsonl`, results by example and what went into a key; and what no record has there."""
MOST = 10_000
"""Records in one page."""


def cells(kept: Sequence[tuple[Record, int]], count: int) -> dict[str, Any]:
    """Records, each with the number of its line, -1 for none; `left_out` says how many of `count` have no room.

    `columns` has for every field its different `values`, and `at`, which of these each record has, -1 for none.
    """
    columns = {"line": _column([line for _, line in kept])}
    names = dict.fromkeys(name for record, _ in kept for name in record if name not in LEFT_OUT)
    columns |= {name: _column([record.get(name, _NONE) for record, _ in kept]) for name in names}
    return {"count": len(kept), "left_out": count - len(kept), "columns": columns}


_NONE = object()


def _column(values: Sequence[Any]) -> dict[str, Any]:
    known: dict[Any, int] = {}
    different: list[Any] = []
    at = []
    for value in values:
        if value is _NONE:
            at.append(-1)
            continue
        key = (type(value), repr(value) if isinstance(value, (list, dict, float)) else value)
        if key not in known:
            known[key] = len(different)
            different.append(_json(value))
        at.append(known[key])
    return {"values": different, "at": at}


def _json(value: Any) -> Any:
    """A value that strict JSON can hold; numbers that are not finite become texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value).replace("inf", "Infinity").replace("nan", "NaN")
    if isinstance(value, dict):
        return {name: _json(one) for name, one in value.items()}
    return [_json(one) for one in value] if isinstance(value, (list, tuple)) else value
