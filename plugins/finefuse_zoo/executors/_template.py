"""The process that jobs are copied from: it has done what all of them do first, and does nothing from then on.

Plugins may have been imported here, so nothing is asked of it but to fork, and to say how the copy has ended.
"""

from __future__ import annotations

import ctypes
import gc
import pickle
import platform
import socket
import struct
import sys
import traceback
import warnings
from contextlib import suppress
from os import WNOHANG, _exit, close, fork, getpid, set_inheritable, setsid, waitpid
from socket import recv_fds, send_fds
from typing import NoReturn

import psutil

from finefuse_zoo.executors._alone import PROC, watched
from finefuse_zoo.executors._processes import adopt_orphans, die_with, resident

READY = b"!"
HEAD, END = struct.Struct("Q?"), struct.Struct("i?")
"""The length of a parcel, and whether it may share a process; the status of a job that has ended, and whether all that
it started has."""
DONE = b"."
ROOM = 4 * 1024**2
"""Bytes that a process may hold on to from job to job before it is replaced."""


def be_the_template(line: socket.socket, prepare: bytes, threads: int, server: int) -> NoReturn:
    """Prepare, say so, and fork a job for each parcel that comes; end if a copy of this process would not be sound."""
    try:
        die_with(server)
        adopt_orphans()
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(threads)
            torch.set_num_interop_threads(1)
        if not prepare or _prepared(prepare):
            line.sendall(READY)
            copies = _Copies(line)
            while (head := recv_fds(line, HEAD.size, 1))[0]:
                length, together = HEAD.unpack(head[0])
                copies.carry_out(received(line, length), head[1][0], together=together and bool(prepare))
    except BaseException:
        traceback.print_exc()
    finally:
        _exit(0)


def _prepared(prepare: bytes) -> bool:
    """Call what is pickled; whether all is well, and this process can be copied."""
    try:
        with watched() as verdict:
            pickle.loads(prepare)()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # not lost: each job now prepares itself, meets it again, and tells
        return False
    gc.collect()
    gc.freeze()
    return verdict.alone


class _Copies:
    """The processes of jobs: one for each, or one for several jobs that leave it as they find it."""

    def __init__(self, line: socket.socket) -> None:
        self._line, self._pid = line, 0
        self._kept: socket.socket | None = None

    def carry_out(self, parcel: bytes, answer: int, *, together: bool) -> None:
        """One job, and how it ended."""
        set_inheritable(answer, False)  # what the job starts must not hold it open
        if together:
            status = self._by_the_kept(parcel, answer)
        else:
            self._end_the_kept()
            status = self._alone(parcel, answer)
        childless = _children() == [self._pid] if self._kept else _childless()
        self._line.sendall(END.pack(status, childless))

    def _alone(self, parcel: bytes, answer: int) -> int:
        template, pid = getpid(), forked()
        if not pid:
            self._line.close()
            _be_the_job(parcel, answer, template)
        close(answer)
        return waitpid(pid, 0)[1]

    def _by_the_kept(self, parcel: bytes, answer: int) -> int:
        if not self._kept:
            template = getpid()
            self._kept, theirs = socket.socketpair()
            self._pid = forked()
            if not self._pid:
                self._line.close()
                self._kept.close()
                close(answer)
                _be_kept(theirs, template)
            theirs.close()
        with suppress(OSError):  # it has just ended, which is noticed next
            send_fds(self._kept, [HEAD.pack(len(parcel), True)], [answer])
            self._kept.sendall(parcel)
        close(answer)
        if received(self._kept, len(DONE)):
            return 0
        return self._end_the_kept()

    def _end_the_kept(self) -> int:
        if not self._kept:
            return 0
        self._kept.close()
        self._kept = None
        return waitpid(self._pid, 0)[1]


def _be_kept(line: socket.socket, template: int) -> NoReturn:
    """Carry out jobs in this process until one fails, or leaves something behind."""
    code = 1
    try:
        die_with(template)
        setsid()
        me = psutil.Process()
        before = resident(me)
        while (head := recv_fds(line, HEAD.size, 1))[0]:
            set_inheritable(head[1][0], False)
            said, well = _perform(received(line, HEAD.unpack(head[0])[0]))
            if getpid() != me.pid:  # a copy of it that a plugin has made
                break
            _answer(head[1][0], said)
            _give_back()
            if not well or _children() or resident(me) > before + ROOM:
                break
            line.sendall(DONE)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        _exit(code)


def forked() -> int:
    """What `fork` returns, without its warning of threads: OpenBLAS has some, and puts them away for a fork."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return fork()


def received(line: socket.socket, length: int) -> bytes:
    """So many bytes, or none if the other end is gone."""
    with suppress(ConnectionError):
        message = line.recv(length, socket.MSG_WAITALL)
        return message if len(message) == length else b""
    return b""


def _childless() -> bool:
    try:
        while waitpid(-1, WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False


def _children() -> list[int]:
    """What any thread of this process has started, or it adopted, and not waited for; only Linux tells."""
    found: list[int] = []
    for thread in (PROC / "task").iterdir():
        with suppress(OSError):  # it has just ended
            found += map(int, (thread / "children").read_text().split())
    return found


def _give_back() -> None:
    """Free what nothing holds any more, and have the C library return it to the system, where it can."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def _be_the_job(parcel: bytes, answer: int, template: int) -> NoReturn:
    """Carry out the job in this process, and end with it."""
    code = 1
    try:
        die_with(template)
        setsid()
        me = getpid()
        said, _ = _perform(parcel)
        if getpid() == me:  # and no copy of it that a plugin has made
            _answer(answer, said)
            code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        _exit(code)


def _answer(pipe: int, said: bytes) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    with open(pipe, "wb") as out:
        out.write(said)


def _perform(parcel: bytes) -> tuple[bytes, bool]:
    """Carry out the pickled (call, order): the pickled (result, error), one of them None, and whether all went well.

    Unpickling is done here, so a plugin that fails at it affects only its own job.
    """
    try:
        call, order = pickle.loads(parcel)
        result = call(order)
        return pickle.dumps((result, None)), isinstance(result, dict) and result.get("status") == "ok"
    except BaseException as error:  # a plugin's SystemExit is an error like any other
        return pickle.dumps((None, portable(error))), False


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
