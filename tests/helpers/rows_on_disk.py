"""Small rows, a results folder with some of them, and a disk that is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from finefuse.records import Records


def row(n: int, **fields: object) -> dict[str, object]:
    return {"schema": 1, "cell": f"cell {n}", "key": f"key {n}", "n": n} | fields


def filled(folder: Path, n: int) -> Records:
    records = Records(folder)
    for i in range(n):
        records.append(row(i))
    return records


def full_disk(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
