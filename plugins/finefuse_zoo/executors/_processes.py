"""Processes started by others: finding them, measuring their memory, and ending them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

import psutil

_SET_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36
"""Of Linux's prctl."""


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, whatever its session; only Linux supports this."""
    _prctl(_SET_SUBREAPER, 1)


def die_with(parent: int) -> None:
    """Have this process killed when its parent ends; only Linux supports this."""
    _prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)


def descendants(pid: int) -> list[psutil.Process]:
    """Children of a process, their children and so on; none if it has ended."""
    with suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def kill(pids: Iterable[int]) -> None:
    """Kill processes, each with the group that it leads, if it leads one."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def resident(process: psutil.Process) -> int:
    """Resident bytes, without pages of files, which the system can take back at any time."""
    memory = process.memory_info()
    return memory.rss - getattr(memory, "shared", 0)  # only Linux tells


class Family:
    """A job below a server's template, looked up about once a second because that reads the whole table.

    It is the template's descendants, or while there are none the template, which is preparing.
    """

    def __init__(self, server: int) -> None:
        self._server = server
        self._known: list[psutil.Process] = []
        self._looked = float("-inf")

    def memory(self) -> int:
        """Resident bytes of all together."""
        if time.monotonic() - self._looked > 1:
            self._known, self._looked = _below_the_template(self._server), time.monotonic()
        total = 0
        for process in self._known:
            with suppress(psutil.Error):
                total += resident(process)
        return total


def _below_the_template(server: int) -> list[psutil.Process]:
    everyone, below = descendants(server), []
    for process in everyone:
        with suppress(psutil.Error):
            if process.ppid() != server:
                below.append(process)
    return below or everyone


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3):
        raise OSError(ctypes.get_errno(), "prctl")
