"""The driver's side of one worker: starts its server, gives it jobs, and holds these to their limits."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import TypeVar

from finefuse import MemoryExceeded, WorkerDied
from finefuse.types import Crew, Record
from finefuse_zoo.executors._processes import Family, descendants, kill

Order = TypeVar("Order")
TICK = 0.1
"""Seconds between two checks of a running job: how late a limit may be noticed."""
PATIENCE = 30.0
"""Seconds that a server has for ending a job that was killed; then it is killed itself."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
FORKABLE = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
"""Asked whether there is a GPU, torch then looks without starting CUDA, which would not live through a fork."""
ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": str(32 * 1024**2), "MALLOC_TRIM_THRESHOLD_": str(256 * 1024**2)}
"""Have glibc keep freed memory: a young process gives it back and asks again for each batch, a fifth of its time."""
PROGRAM = """\
import sys
fd, threads, calls, preload, *sys.path = sys.argv[1:]
from finefuse_zoo.executors._server import serve
serve(int(fd), int(threads), int(calls), preload.split())
"""


def packed(crew: Crew, call: Callable[[Order], Record], order: Order) -> bytes:
    """What a server is sent: whether the job may share a process, and the call with its order.

    Raises:
        Exception: if they can't travel.
    """
    together = crew.together is not None and crew.together(order)
    return bytes([together]) + pickle.dumps((call, order))


def refused(error: Exception) -> Future[Record]:
    """The future of a call that could not be sent."""
    future: Future[Record] = Future()
    future.set_exception(error)
    return future


class Worker:
    """One worker: a server, which forks a process for each job. A server that dies or is killed is replaced."""

    def __init__(self, crew: Crew, preload: bool, stopping: threading.Event) -> None:
        self._crew, self._stopping = crew, stopping
        self._preload, self._prepare = crew.preload if preload else (), b""
        if preload and crew.prepare and sys.platform == "linux":  # elsewhere it would be done in vain: see _alone.py
            with suppress(Exception):  # what can't travel there is of no use; orders say why
                self._prepare = pickle.dumps(crew.prepare)
        self._server: subprocess.Popen[bytes] | None = None
        self._line: Connection | None = None

    def call(self, parcel: bytes, seconds: float) -> Record:
        """Carry out one call within its limits.

        Raises:
            TimeoutError: and `MemoryExceeded`, if it passes them.
            WorkerDied: if the process ended without an answer, or could not start.
        """
        line, template = self._begin(parcel)
        try:
            trouble = self._watch(line, seconds)
            if trouble is not None:
                self._kill_job()
            code, said = line.recv() if line.poll(PATIENCE) else (None, b"")
        except (EOFError, OSError):
            raise self._lost(template) from None
        if code is None:
            self.end()
        if trouble is not None:
            raise trouble
        if not said or code != 0:
            raise _died(code)
        result, error = pickle.loads(said)
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def end(self) -> None:
        """End the server, its job and all that this started."""
        if self._server is None or self._line is None:
            return
        self._line.close()  # it notices, kills its job, and goes
        try:
            self._server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            kill([*(child.pid for child in descendants(self._server.pid)), self._server.pid])
            self._server.wait()
        self._server = self._line = None

    def _begin(self, parcel: bytes) -> tuple[Connection, int]:
        """Have the job started, by a new server if the old one has died meanwhile."""
        while True:
            line, fresh = self._ready()
            try:
                line.send_bytes(parcel)
                return line, line.recv()
            except (EOFError, OSError):
                code = self._bury()
                if fresh:
                    raise _died(code) from None

    def _ready(self) -> tuple[Connection, bool]:
        """The line to the server, and whether it has just been started."""
        if self._line is not None:
            return self._line, False
        ours, theirs = Pipe()
        path = [entry for entry in sys.path if isinstance(entry, str)]
        calls = self._crew.calls // self._crew.workers
        numbers = [str(number) for number in (theirs.fileno(), self._crew.threads, calls)]
        arguments = [*numbers, " ".join(self._preload), *path]
        self._server = subprocess.Popen(
            [sys.executable, *(f"-W{option}" for option in sys.warnoptions), "-P", "-c", PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            env=self._environment(),
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        self._line = ours
        try:
            ours.send_bytes(self._prepare)
            while not ours.poll(TICK):
                if self._stopping.is_set():
                    raise WorkerDied("the run was stopped")
            ours.recv()
        except (EOFError, OSError):
            raise WorkerDied(
                f"no worker process could start: it {_how(self._bury())}; see what it said above"
            ) from None
        return ours, True

    def _environment(self) -> dict[str, str]:
        threads = dict.fromkeys(THREADS, str(self._crew.threads))
        return {**ALLOCATION, **os.environ, **threads, **FORKABLE, **self._crew.environment}

    def _watch(self, line: Connection, seconds: float) -> Exception | None:
        """Wait for the job to end; or say why it must end now."""
        assert self._server is not None
        deadline, family = time.monotonic() + seconds, Family(self._server.pid)
        while not line.poll(TICK):
            if self._stopping.is_set():
                return WorkerDied("the run was stopped")
            if time.monotonic() > deadline:
                return TimeoutError(f"took longer than {seconds:g} s")
            if 0 < self._crew.memory < (taken := family.memory()):
                limit = f"{self._crew.memory / 1024**3:.3g} GiB"
                return MemoryExceeded(f"took more than {limit} of memory", peak_memory=taken)
        return None

    def _kill_job(self) -> None:
        assert self._server is not None
        kill([child.pid for child in descendants(self._server.pid)])

    def _lost(self, template: int) -> WorkerDied:
        """The server has died, and can't end the job any more."""
        kill([*(child.pid for child in descendants(template)), template])
        return _died(self._bury())

    def _bury(self) -> int:
        """Be done with a server that has died; its exit code."""
        assert self._server is not None
        assert self._line is not None
        self._line.close()
        code = self._server.wait()
        self._server = self._line = None
        return code


def _died(code: int | None) -> WorkerDied:
    hint = ": killed from outside, perhaps by the system for want of memory" if code == -signal.SIGKILL else ""
    return WorkerDied(f"the worker process {_how(code)}{hint}", exitcode=code)


def _how(code: int | None) -> str:
    if code is None:
        return "could not be ended"
    return f"ended with exit code {code}" if code >= 0 else f"ended by {signal.Signals(-code).name}"
