"""Whether a process can be copied: no copy may lack what the original has, or share what another copy changes."""

from __future__ import annotations

import concurrent.futures.thread  # these two have hooks at forks, which are harmless, and are there before we look
import gc
import logging
import os
import posix
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["concurrent", "logging", "watched"]

PROC = Path("/proc/self")
HOOKS = ((os, "register_at_fork"), (posix, "register_at_fork"), (sys, "addaudithook"))
"""Functions that take others, to be called whenever this process forks, or does anything at all."""


@dataclass
class Verdict:
    """`alone` if nothing was started that goes on, and nothing is open that copies would share."""

    alone: bool = False


@contextmanager
def watched() -> Iterator[Verdict]:
    """Watch what a block leaves behind: threads, children, timers, handlers, a GPU, open files, shared memory.

    Only Linux tells; elsewhere no process is ever alone.
    """
    verdict, called, before = Verdict(), list[object](), _ties()
    real = [getattr(owner, name) for owner, name in HOOKS]
    for (owner, name), hook in zip(HOOKS, real, strict=True):
        setattr(owner, name, _noting(hook, called))
    try:
        yield verdict
    finally:
        for (owner, name), hook in zip(HOOKS, real, strict=True):
            setattr(owner, name, hook)
    verdict.alone = before is not None and _ties() == before and not called


def _noting(hook: Callable[..., object], called: list[object]) -> Callable[..., object]:
    def noted(*args: object, **named: object) -> object:
        if args or named.keys() - {"after_in_child"}:  # that one is called in the copy only
            called.append(hook)
        return hook(*args, **named)

    return noted


def _ties() -> tuple[object, ...] | None:
    """All that connects this process to others, or has it do something unasked; None where the system can't tell."""
    if not (PROC / "maps").exists():
        return None
    torch = sys.modules.get("torch")
    files = {entry.name: str(entry.readlink()) for entry in (PROC / "fd").iterdir() if entry.is_symlink()}
    shared = {line for line in (PROC / "maps").read_text().splitlines() if line.split()[1] == "rw-s"}
    return (
        len(list((PROC / "task").iterdir())),
        (PROC / "task" / str(os.getpid()) / "children").read_text(),
        files,
        shared,
        {number: signal.getsignal(number) for number in signal.valid_signals()},
        [signal.getitimer(kind)[0] > 0 for kind in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)],
        (list(gc.callbacks), sys.gettrace(), sys.getprofile()),
        torch is not None and torch.cuda.is_initialized(),
    )
