"""Waiting for what takes a moment, such as the end of processes; the limits are for what never happens."""

from __future__ import annotations

import time

import psutil


def gone(*pids: int, within: float = 120) -> bool:
    """Whether the processes end in time; one whose end no parent has noticed yet is gone as well."""

    def lives(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return eventually(lambda: not any(map(lives, pids)), within)


def eventually(true, within: float = 120) -> bool:
    """Whether it is true in time."""
    end = time.monotonic() + within
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(true())
