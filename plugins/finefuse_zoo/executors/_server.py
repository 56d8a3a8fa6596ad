"""A worker of `local`: a process that runs no plugin, and has another one, its template, fork one for each job.

The driver's side is in _worker.py. It sends a parcel; the server answers with the process id of the template, and when
the job has ended with how it ended and what it said. Nothing that a job does to its process can reach the next job's.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from socket import send_fds

from finefuse_zoo.executors._pages import use_large_pages
from finefuse_zoo.executors._processes import adopt_orphans, descendants, kill
from finefuse_zoo.executors._template import END, HEAD, READY, be_the_template, forked, received

BLOCK = 65536
MANY = 50
"""Jobs from which on large pages save more than the second that it takes to move to them."""


def serve(fd: int, threads: int, calls: int, preload: Sequence[str]) -> None:
    """Import what every job needs, say so, and carry out jobs, about so many, until the driver hangs up or dies.

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
    if calls >= MANY:
        use_large_pages()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _Server(driver, driver.recv_bytes(), threads).work()


class _GoneError(Exception):
    """The template has ended, with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Answer:
    """What a job says, by a pipe that only the job, and what it starts, can write to."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        self._said = bytearray()
        self.more = True

    def fileno(self) -> int:
        """Where it is read."""
        return self._reader

    def listen(self) -> None:
        """Take in some of it."""
        block = os.read(self._reader, BLOCK)
        self._said += block
        self.more = bool(block)

    def whole(self) -> bytes:
        """All of it, when no writer is left."""
        while self.more:
            self.listen()
        os.close(self._reader)
        return bytes(self._said)


class _Server:
    """Passes parcels on to the template, and replaces it when it is gone or in doubt."""

    def __init__(self, driver: Connection, prepare: bytes, threads: int) -> None:
        self._driver, self._prepare, self._threads = driver, prepare, threads
        self._line: socket.socket | None = None
        self._template = 0

    def work(self) -> None:
        """Carry out one job after the other."""
        self._driver.send("ready")
        try:
            while True:
                self._driver.send(self._job(self._driver.recv_bytes()))
        finally:
            self._forget()

    def _job(self, parcel: bytes) -> tuple[int, bytes]:
        """Carry out one job, and end all that it started: its exit code, and what it said.

        The parcel's first byte says whether it may share a process.
        """
        answer = None
        try:
            line = self._ready()
            answer = _Answer()
            with suppress(OSError):  # the template has just ended, which is noticed next
                send_fds(line, [HEAD.pack(len(parcel) - 1, parcel[0])], [answer.writer])
                line.sendall(memoryview(parcel)[1:])
            os.close(answer.writer)
            status, childless = END.unpack(self._hear(line, END.size, answer))
            code = os.waitstatus_to_exitcode(status)
            if not childless:
                self._forget()
        except _GoneError as gone:
            code = gone.code
            self._forget()
        return code, answer.whole() if answer else b""

    def _ready(self) -> socket.socket:
        """The line to a template that waits for a parcel."""
        if self._line and select.select([self._line], (), (), 0)[0]:
            self._forget()  # it was killed while it had nothing to do
        if self._line:
            self._driver.send(self._template)
            return self._line
        line = self._fork()
        self._driver.send(self._template)  # now, because to prepare is part of what a job does
        try:
            self._hear(line, len(READY))
        except _GoneError as gone:
            unprepared, self._prepare = not self._prepare, b""  # from now on each job prepares itself
            if unprepared or gone.code == -signal.SIGKILL:  # it took too long, or too much
                raise
            self._forget()
            line = self._fork()
            self._hear(line, len(READY))
        return line

    def _fork(self) -> socket.socket:
        self._line, theirs = socket.socketpair()
        server = os.getpid()
        sys.stdout.flush()
        self._template = forked()
        if not self._template:
            self._driver.close()
            self._line.close()
            be_the_template(theirs, self._prepare, self._threads, server)
        theirs.close()
        return self._line

    def _hear(self, line: socket.socket, size: int, answer: _Answer | None = None) -> bytes:
        """What the template says next; meanwhile the job's answer is taken in.

        Raises:
            EOFError: if the driver has hung up.
        """
        while True:
            sources: list[Connection | socket.socket | _Answer] = [
                self._driver,
                line,
                *([answer] if answer and answer.more else []),
            ]
            ready, _, _ = select.select(sources, (), ())
            if self._driver in ready:
                raise EOFError("the driver has hung up")
            if answer and answer in ready:
                answer.listen()
            if line in ready:
                if message := received(line, size):
                    return message
                _, status = os.waitpid(self._template, 0)
                raise _GoneError(os.waitstatus_to_exitcode(status))

    def _forget(self) -> None:
        """End the template, and all that it or its jobs started."""
        end_children()
        if self._line:
            self._line.close()
        self._line = None


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
