"""`local`: jobs in processes forked on this machine, which can fail in any way without harming other jobs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypeVar

from finefuse import FinefuseError, WorkerDied
from finefuse.types import Crew, Record
from finefuse_zoo.executors._worker import Worker, packed, refused

Order = TypeVar("Order")


@dataclass(frozen=True)
class Local:
    """Workers that carry out one job at a time, in processes of their own.

    A worker is a process that runs no plugin. It imports what every job needs and forks another one, which imports the
    plugins and is then copied for each job, so that no job leaves anything behind for the next; jobs of built-in
    plugins alone may share a copy. A job that exceeds its time or memory is killed with every process it started; a job
    killed from outside (SIGKILL) is tried again. With `preload` false nothing is imported in advance.
    """

    preload: bool = True
    parallel: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not hasattr(os, "setsid"):
            raise FinefuseError("needs the process groups of Unix; run with --executor serial, or with workers=0")

    def start(self, crew: Crew) -> None:
        """Get ready; a worker starts with its first job."""
        self._teams.append(_Team(crew, self.preload))

    def submit(self, call: Callable[[Order], Record], order: Order, seconds: float) -> Future[Record]:
        """Carry out `call(order)` in another process as soon as a worker is free.

        The time starts with that process. The future raises `TimeoutError`, `MemoryExceeded` or `WorkerDied`, and else
        what the call raised, with its traceback as a note.
        """
        team = self._teams[-1]
        try:
            parcel = packed(team.crew, call, order)
        except Exception as error:
            return refused(error)
        return team.submit(parcel, seconds)

    def stop(self) -> None:
        """End all workers and what they started; jobs under way end with `WorkerDied`."""
        while self._teams:
            self._teams.pop().stop()

    @cached_property
    def _teams(self) -> list[_Team]:
        return []


class _Team:
    """The workers, and a thread for each job under way."""

    def __init__(self, crew: Crew, preload: bool) -> None:
        self.crew, self._stopping = crew, threading.Event()
        self._workers = [Worker(crew, preload, self._stopping) for _ in range(crew.workers)]
        self._free = list(self._workers)
        self._threads = ThreadPoolExecutor(crew.workers, "finefuse-local", _keep_ctrl_c_out)

    def submit(self, parcel: bytes, seconds: float) -> Future[Record]:
        return self._threads.submit(self._carry_out, parcel, seconds)

    def stop(self) -> None:
        self._stopping.set()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.end()

    def _carry_out(self, parcel: bytes, seconds: float) -> Record:
        worker = self._free.pop()
        try:
            return worker.call(parcel, seconds)
        except WorkerDied as death:
            if death.exitcode != -signal.SIGKILL or self._stopping.is_set():
                raise
            return worker.call(parcel, seconds)
        finally:
            self._free.append(worker)


def _keep_ctrl_c_out() -> None:
    """Block SIGINT in a thread and so in the processes that it starts, until they have left the terminal's group."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
