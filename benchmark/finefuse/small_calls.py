"""Calls that the conformance kit gives to executors; light, because each runs in a process that imports this module."""

from __future__ import annotations

import os
import time
from typing import Any

MIB = 2**20
SIGN = "FINEFUSE_KIT"
"""A variable that the crew's environment sets."""


def answers(number: int) -> dict[str, Any]:
    """A call that is done at once."""
    return {"number": number, "pid": os.getpid(), "sign": os.environ.get(SIGN, "")}


def takes_a_moment(number: int) -> dict[str, Any]:
    """A call that says when it began and ended."""
    began = time.time()
    time.sleep(0.1)
    return {"number": number, "pid": os.getpid(), "began": began, "ended": time.time()}


def raises(number: int) -> dict[str, Any]:
    """A call that fails."""
    raise ValueError(f"call {number} fails")


def sleeps(seconds: int) -> dict[str, Any]:
    """A call that takes longer than it may."""
    time.sleep(seconds)
    return {}


def dies(code: int) -> dict[str, Any]:
    """A call whose process ends."""
    os._exit(code)


def hoards(mebibytes: int) -> dict[str, Any]:
    """A call that takes memory, and not for ever if nothing stops it."""
    hoard = []
    for _ in range(mebibytes // 8):
        hoard.append(b"x" * (8 * MIB))
        time.sleep(0.002)
    time.sleep(5)
    return {}
