"""Records as a table, and their fields decoded."""

from __future__ import annotations

import math
from binascii import Error, a2b_base64
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
    right: NDArray[np.bool_] = unpacked([record], "correct", record["n_test"])[0].astype(bool)
    return right


def losses(record: Record) -> NDArray[np.float64]:
    """The loss of each test example, (n_test,), where answers are not right or wrong.

    Raises:
        StoreError: if the field is damaged.
    """
    found: NDArray[np.float64] = unpacked([record], "losses", record["n_test"])[0].astype(np.float64)
    return found


def unpacked(records: Sequence[Record], field: str, n: int) -> NDArray[Any]:
    """`correct`, as 0 and 1, or `losses` of records with `n` test examples, (records, n).

    Raises:
        StoreError: if the field of one is damaged.
    """
    size = -(-n // 8) if field == "correct" else 4 * n
    packed = []
    for record in records:
        try:
            packed.append(a2b_base64(record[field], strict_mode=True))
        except (Error, ValueError, TypeError) as error:
            raise StoreError(f"the record of {record['cell']} has a damaged field `{field}`: {error}.") from error
        if (found := len(packed[-1])) != size:
            raise StoreError(f"the record of {record['cell']} has {found} bytes of `{field}` for {n} examples.")
    if field == "correct":
        bits = np.frombuffer(b"".join(packed), np.uint8).reshape(len(records), size)
        return np.unpackbits(bits, axis=1, count=n)
    return np.frombuffer(b"".join(packed), "<f4").reshape(len(records), n)
