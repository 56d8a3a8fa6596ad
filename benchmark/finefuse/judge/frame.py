"""Records as a table, and their fields decoded."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from finefuse.errors import StoreError
from finefuse.types import Record

FIRST: dict[str, Any] = {
    "suite": "",
    "cell": "",
    "kind": "",
    "dataset": "",
    "backbone": "",
    "label": "",
    "pool": "",
    "seed": 0,
    "member": 0,
    "round": 0,
    "status": "",
    "reason": "",
}
"""The columns that every table of records begins with, and the value for records without the field."""


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row per record and one column per field: those of `FIRST`, then the others as they come."""
    records = list(records)
    names = dict(FIRST)
    for record in records:
        names.update(dict.fromkeys(record.keys() - names.keys()))
    return table({name: [record.get(name, none) for record in records] for name, none in names.items()})


def table(columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """A table of these columns; text that is not valid Unicode, which pandas may refuse, is written in escapes."""
    try:
        return pd.DataFrame(columns)
    except UnicodeEncodeError:
        return pd.DataFrame({name: list(map(_encodable, values)) for name, values in columns.items()})


def _encodable(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def number(record: Record, field: str) -> float:
    """A field as a float; NaN if it is null or not there.

    Raises:
        StoreError: if it holds anything else.
    """
    value = record.get(field)
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise StoreError(f"the record of {record['cell']} should have a number as {field}, not {value!r}.")
    return float(value)


def numbers(records: Sequence[Record], field: str) -> list[float]:
    """A field of many records as floats; NaN where it is null or not there.

    Raises:
        StoreError: if one holds anything else.
    """
    values = [record.get(field) for record in records]
    if {int, float}.issuperset(map(type, values)):
        return [float(value) for value in values if value is not None]
    return [math.nan if value is None else number(record, field) for value, record in zip(values, records, strict=True)]


def correctness(record: Record) -> NDArray[np.bool_]:
    """Which test examples the cell got right, (n_test,), unpacked from `correct`.

    Raises:
        StoreError: if the field is damaged.
    """
    n, packed = record["n_test"], _unpacked(record, "correct", np.uint8)
    if len(packed) != -(-n // 8):
        raise StoreError(f"the record of {record['cell']} has {len(packed)} bytes of `correct` for {n} examples.")
    return np.unpackbits(packed, count=n).astype(bool)


def losses(record: Record) -> NDArray[np.float64]:
    """The loss of each test example, (n_test,), where answers are not right or wrong.

    Raises:
        StoreError: if the field is damaged.
    """
    n, found = record["n_test"], _unpacked(record, "losses", np.dtype("<f4"))
    if len(found) != n:
        raise StoreError(f"the record of {record['cell']} has {len(found)} `losses` for {n} examples.")
    return found.astype(np.float64)


def _unpacked(record: Record, field: str, kind: Any) -> NDArray[Any]:
    try:
        return np.frombuffer(base64.b64decode(record[field], validate=True), kind)
    except (binascii.Error, ValueError, TypeError) as error:
        raise StoreError(f"the record of {record['cell']} has a damaged field `{field}`: {error}.") from error
