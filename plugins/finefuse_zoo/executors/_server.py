"""A worker of `local`: a process that runs no plugin, and forks another one for each job.

The driver's side is in _worker.py. It sends a parcel; the server answers with the process id of the job, and when that
has ended with how it ended and what it said. Nothing that a job does to its process can reach the next job's.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from typing import NoReturn

from finefuse_zoo.executors._processes import adopt_orphans, descendants, die_with, kill

BLOCK = 65536


def serve(fd: int, threads: int, preload: Sequence[str]) -> None:
    """Import what every job needs, say so, and carry out jobs until the driver hangs up or dies.

    No thread is started and no device touched here: neither would survive a fork. Output of plugins goes to stderr;
    only messages to the driver go to stdout.
    """
    driver = Connection(fd)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    adopt_orphans()
    for module in preload:
        import_module(module)
    gc.collect()
    gc.freeze()  # what is here already stays shared with the jobs: no collector of theirs goes through it
    woken = _wake_up_when_children_end()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        driver.send("ready")
        while True:
            parcel = driver.recv_bytes()
            driver.send(_Job(parcel, threads, driver).done(woken))


class _Job:
    """One job in a separate process and session."""

    def __init__(self, parcel: bytes, threads: int, driver: Connection) -> None:
        self._driver = driver
        self._answers, answer = os.pipe()
        sys.stdout.flush()
        server = os.getpid()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # OpenBLAS has threads, and puts them away for a fork
            self.pid = os.fork()
        if not self.pid:
            driver.close()
            _be_the_job(parcel, threads, answer, server)
        os.close(answer)
        self._said = b""

    def done(self, woken: int) -> tuple[int, bytes]:
        """Wait for the end of the job, and of all that it started: its exit code, and what it said."""
        try:
            self._driver.send(self.pid)
            code = self._wait(woken)
        except (OSError, EOFError):
            kill([self.pid])
            end_children()
            raise
        end_children()
        self._listen_to_the_rest()
        return code, self._said

    def _wait(self, woken: int) -> int:
        sources = [self._driver.fileno(), self._answers, woken]
        while True:
            ready, _, _ = select.select(sources, (), ())
            if self._driver.fileno() in ready:
                raise EOFError("the driver has hung up")
            if self._answers in ready:
                block = os.read(self._answers, BLOCK)
                self._said += block
                if not block:
                    sources.remove(self._answers)
            if woken in ready:
                os.read(woken, BLOCK)
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    return os.waitstatus_to_exitcode(status)

    def _listen_to_the_rest(self) -> None:
        while block := os.read(self._answers, BLOCK):  # no writer is left
            self._said += block
        os.close(self._answers)


def end_children() -> None:
    """Kill every descendant of this process, and reap them."""
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            kill(child.pid for child in descendants(os.getpid()))
            time.sleep(0.001)
            continue
        return


def _be_the_job(parcel: bytes, threads: int, answer: int, server: int) -> NoReturn:
    """Carry out the job in this process, and end with it."""
    code = 1
    try:
        die_with(server)
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(threads)
            torch.set_num_interop_threads(1)
        me = os.getpid()
        said = _perform(parcel)
        if os.getpid() == me:  # and no copy of it that a plugin has made
            sys.stdout.flush()
            sys.stderr.flush()
            with open(answer, "wb") as out:
                out.write(said)
            code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _perform(parcel: bytes) -> bytes:
    """Carry out the pickled (call, order); the answer is the pickled (result, error), one of them None.

    Unpickling is done here, so a plugin that fails at it affects only its own job.
    """
    try:
        call, order = pickle.loads(parcel)
        return pickle.dumps((call(order), None))
    except BaseException as error:  # a plugin's SystemExit is an error like any other
        return pickle.dumps((None, portable(error)))


def portable(error: BaseException) -> Exception:
    """The error, if it can be pickled, or one with the same message; a note holds its traceback."""
    text = "".join(traceback.format_exception(error))
    try:
        copy: object = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = None
    known = "".join(traceback.format_exception_only(error)).strip()
    sent = copy if isinstance(copy, Exception) else RuntimeError(known)
    sent.add_note(text)
    return sent


def _wake_up_when_children_end() -> int:
    """A file descriptor that can be read when a child has ended."""
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return woken
