"""The process that jobs are copied from: it has done what all of them do first, and does nothing from then on.

Plugins may have been imported here, so nothing is asked of it but to fork, and to say how the copy has ended.
"""

from __future__ import annotations

import gc
import pickle
import socket
import struct
import sys
import traceback
import warnings
from contextlib import suppress
from os import WNOHANG, _exit, close, fork, getpid, set_inheritable, setsid, waitpid
from socket import recv_fds
from typing import NoReturn

from finefuse_zoo.executors._alone import watched
from finefuse_zoo.executors._processes import adopt_orphans, die_with

READY = b"!"
LENGTH, END = struct.Struct("Q"), struct.Struct("i?")
"""Of a parcel; the status of a job that has ended, and whether all that it started has."""


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
            while (head := recv_fds(line, LENGTH.size, 1))[0]:
                _copy(line, LENGTH.unpack(head[0])[0], head[1][0])
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


def _copy(line: socket.socket, length: int, answer: int) -> None:
    """One job, and how it ended."""
    parcel, template = received(line, length), getpid()
    set_inheritable(answer, False)  # what the job starts must not hold it open
    pid = forked()
    if not pid:
        line.close()
        _be_the_job(parcel, answer, template)
    close(answer)
    _, status = waitpid(pid, 0)
    line.sendall(END.pack(status, _childless()))


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


def _be_the_job(parcel: bytes, answer: int, template: int) -> NoReturn:
    """Carry out the job in this process, and end with it."""
    code = 1
    try:
        die_with(template)
        setsid()
        me = getpid()
        said = _perform(parcel)
        if getpid() == me:  # and no copy of it that a plugin has made
            sys.stdout.flush()
            sys.stderr.flush()
            with open(answer, "wb") as out:
                out.write(said)
            code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        _exit(code)


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
