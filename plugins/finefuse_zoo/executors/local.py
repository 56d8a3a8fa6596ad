"""`local`: worker processes on this machine, each of which can fail in any way without harm to another job."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import psutil

from finefuse import FinefuseError, MemoryExceeded, WorkerDied
from finefuse.types import Crew, Record
from finefuse_zoo.executors._worker import CALL, CALLER, LEADER, end_group, perform, prepare

if TYPE_CHECKING:
    from pebble import ProcessPool

Order = TypeVar("Order")

TICK = 0.1
"""Seconds between two looks at a running job: how late a limit may be noticed."""


@dataclass(frozen=True)
class Local:
    """Persistent worker processes, one job at a time each.

    A job that passes its time or memory is killed with every process it started, and a worker that dies is replaced;
    killed from outside (SIGKILL), its job gets one more try. `preload` imports torch when a worker starts, outside the
    jobs' time.
    """

    preload: bool = True
    parallel: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not hasattr(os, "setsid"):
            raise FinefuseError("needs the process groups of Unix; run with --executor serial, or with workers=0")

    def start(self, crew: Crew) -> None:
        """Get ready; a worker process starts with its first job."""
        self._teams.append(_Team(crew, self.preload))

    def submit(self, call: Callable[[Order], Record], order: Order, seconds: float) -> Future[Record]:
        """Carry out `call(order)` in a free worker, rather one that has used the order's `device` before.

        The time starts when a worker has taken the job. The future raises `TimeoutError`, `MemoryExceeded` or
        `WorkerDied`, and else what the call raised, with its traceback as a note.
        """
        try:
            parcel = pickle.dumps((call, order))
        except Exception as error:
            refused: Future[Record] = Future()
            refused.set_exception(error)
            return refused
        return self._teams[-1].submit(parcel, str(getattr(order, "device", "")), seconds)

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
        resource_tracker.ensure_running()  # it meddles with the signal mask of the thread that starts it
        self.stopping = threading.Event()
        self.workers = [_Worker(crew, preload, self.stopping) for _ in range(crew.workers)]
        self._free = list(self.workers)
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(crew.workers, "finefuse-local", _keep_ctrl_c_out)

    def submit(self, parcel: bytes, device: str, seconds: float) -> Future[Record]:
        return self._threads.submit(self._carry_out, parcel, device, seconds)

    def stop(self) -> None:
        self.stopping.set()
        self._threads.shutdown(cancel_futures=True)
        for worker in self.workers:
            worker.end()

    def _carry_out(self, parcel: bytes, device: str, seconds: float) -> Record:
        worker = self._take(device)
        try:
            return worker.call(parcel, seconds)
        except WorkerDied as death:
            if death.exitcode not in (None, -signal.SIGKILL) or self.stopping.is_set():
                raise
            return worker.call(parcel, seconds)
        finally:
            self._free.append(worker)

    def _take(self, device: str) -> _Worker:
        """A free worker that has used this device, or else none before: so each holds memory of one device only."""
        with self._lock:
            worker = min(self._free, key=lambda free: (free.device != device, free.device != ""))
            self._free.remove(worker)
        worker.device = device
        return worker


class _Worker:
    """One worker process. Its pebble pool is its own, so that no lock it holds when killed is another's."""

    def __init__(self, crew: Crew, preload: bool, stopping: threading.Event) -> None:
        self.device = ""
        self._crew, self._preload, self._stopping = crew, preload, stopping
        self._numbers = count(1)
        self._pool: ProcessPool | None = None
        self._board: Any = [0, 0, 0]

    def call(self, parcel: bytes, seconds: float) -> Record:
        """Carry out one call; after a death or a kill nothing of the old process is used again."""
        from pebble import ProcessExpired

        pool = self._ready()
        number = next(self._numbers)
        future = pool.schedule(perform, (number, parcel))
        trouble = self._watch(future, number, seconds)
        if trouble is None:
            try:
                answer = future.result()
            except ProcessExpired as death:
                end_group(death.pid)
                trouble = _died(death.exitcode)
            except BrokenProcessPool:
                trouble = _died(None)
        if trouble is not None:
            self.end()
            raise trouble
        result, error = pickle.loads(answer)
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def end(self) -> None:
        """Kill the process and all that it started."""
        if self._pool is None:
            return
        self._pool.stop()  # type: ignore[no-untyped-call]
        for leader in {self._board[LEADER], self._board[CALLER]} - {0}:
            end_group(leader)
        self._pool.join()
        self._pool = None

    def _ready(self) -> ProcessPool:
        from pebble import ProcessPool

        if self._pool is not None and not self._pool.active:  # it died between two jobs
            self.end()
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            self._board = spawn.RawArray("q", 3)
            self._pool = ProcessPool(
                1, initializer=prepare, initargs=(self._board, self._crew.threads, self._preload), context=spawn
            )
        return self._pool

    def _watch(self, future: Future[bytes], number: int, seconds: float) -> Exception | None:
        """Wait for the call to end; or say why it must end now."""
        deadline = gone = float("inf")
        family = _Family(0)
        while not wait([future], TICK).done:
            now = time.monotonic()
            if self._stopping.is_set():
                return WorkerDied("the run was stopped")
            if self._board[CALL] != number:
                continue
            if deadline == float("inf"):
                deadline, family = now + seconds, _Family(self._board[CALLER])
            if now > deadline:
                return TimeoutError(f"took longer than {seconds:g} s")
            if 0 < self._crew.memory < (taken := family.memory()):
                limit = f"{self._crew.memory / 1024**3:.3g} GiB"
                return MemoryExceeded(f"took more than {limit} of memory", peak_memory=taken)
            gone = min(gone, now) if not psutil.pid_exists(self._board[CALLER]) else float("inf")
            if now - gone > 10 * TICK:  # pebble does not notice a worker that ends with exit code 0
                return _died(0)
        return None


class _Family:
    """A process and its descendants, who are looked up about once a second because that reads the whole table."""

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._known: list[psutil.Process] = []
        self._looked = 0.0

    def memory(self) -> int:
        """Resident bytes of all together, without pages of files, which the system can take back at any time."""
        total = 0
        with suppress(psutil.NoSuchProcess):
            if time.monotonic() - self._looked > 10 * TICK:
                leader = psutil.Process(self._leader)
                self._known, self._looked = [leader, *leader.children(recursive=True)], time.monotonic()
        for process in self._known:
            with suppress(psutil.Error):
                memory = process.memory_info()
                total += memory.rss - getattr(memory, "shared", 0)  # only Linux tells
        return total


def _died(code: int | None) -> WorkerDied:
    if code is None:
        return WorkerDied(
            "no worker process could start; a script must call finefuse.run under `if __name__ == '__main__':`"
        )
    how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
    hint = ": killed from outside, perhaps by the system for want of memory" if code == -signal.SIGKILL else ""
    return WorkerDied(f"the worker process ended {how}{hint}", exitcode=code)


def _keep_ctrl_c_out() -> None:
    """Block SIGINT in a thread and so in the processes that it starts, until they have left the terminal's group."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
