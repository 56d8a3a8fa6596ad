"""Small rows, a results folder with some of them, and a disk that is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from finefuse.records import Records
from finefuse.types import Cell

AWKWARD = [
    "folder(path=/data/a (1)/x)",
    "folder(path=/data/[b]/)(/s0/m1/r3)",
    "folder(path= /a b\tc/)",
    "csv(path=/zwölf/数据/🙂.csv)",
    "csv(path=/line\nbreak/x.csv)",
    "a/b/c/s0/m0/r0",
    "fuse/a/b/c/d/s0/m0/r0",
]
"""What data sets and strategies may be called that once cost a line of the board."""


def place(n: int) -> Cell:
    return Cell("tune", "data", "net", f"line {n}", "", 0, 0, 0, 0)


def row(number: int, **fields: object) -> dict[str, object]:
    named = {"schema": 1, "cell": f"cell {number}", "key": f"key {number}", "n": number, "status": "skipped"}
    return named | place(number)._asdict() | fields


def filled(folder: Path, n: int) -> Records:
    records = Records(folder)
    for i in range(n):
        records.append(row(i))
    return records


def full_disk(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
