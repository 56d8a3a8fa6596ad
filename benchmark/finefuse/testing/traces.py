"""What a plugin leaves behind when it is done: files, threads, processes, switches, and data that it changed."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from torch import Tensor

from finefuse.engine.store.splits import content_of
from finefuse.engine.work.untouched import Surroundings
from finefuse.testing.report import require

HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
"""Processes of Python's own, which stay until it ends."""
MOMENT = 2.0
"""Seconds for a thread that was told to end."""
PASSING = (os.devnull, "/proc/", "/dev/")
_watchers: list[_Watcher] = []


class _Watcher:
    """What is opened for writing, and who is asked on a network, while it is among `_watchers`."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.asked: list[str] = []

    def heard(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and isinstance(path, str | bytes | os.PathLike):
                self.written.append(os.path.realpath(os.fsdecode(path)))
        elif event == "os.mkdir":
            self.written.append(os.path.realpath(os.fsdecode(args[0])))
        elif event == "socket.getaddrinfo":
            self.asked.append(str(args[0]))
        elif event == "socket.connect" and isinstance(args[1], tuple):
            self.asked.append(str(args[1][0]))

    def files(self) -> list[str]:
        """Those that are still there, without Python's own."""
        there = (path for path in dict.fromkeys(self.written) if Path(path).exists())
        return [path for path in there if not path.startswith(PASSING) and "__pycache__" not in path]


def _hear(event: str, args: tuple[Any, ...]) -> None:
    for watcher in _watchers:
        watcher.heard(event, args)


@contextmanager
def watching() -> Iterator[_Watcher]:
    """Notes what Python itself opens and asks on a network; what C does is out of its sight."""
    if not vars(sys.modules[__name__]).get("_hears"):
        globals()["_hears"] = True
        sys.addaudithook(_hear)  # one for good: hooks can't be taken away
    watcher = _Watcher()
    _watchers.append(watcher)
    try:
        yield watcher
    finally:
        _watchers.remove(watcher)


@contextmanager
def leaving_no_trace(given: Mapping[str, Tensor] | None = None, *, files: bool = True) -> Iterator[None]:
    """Fails if what runs inside leaves `traces`."""
    with traces(given, files=files) as found:
        yield
    require(not found, "; ".join(found))


@contextmanager
def traces(given: Mapping[str, Tensor] | None = None, *, files: bool = True) -> Iterator[list[str]]:
    """What is changed inside that is not the plugin's own, in the list afterwards; what can be put back is.

    That is: the tensors that are `given`, by name; torch's switches and the code that scores; the environment and the
    working folder; and files, threads and processes that are there afterwards; without `files` it may
    write some.
    """
    contents = {name: content_of(tensor) for name, tensor in (given or {}).items()}
    environment, threads, children = dict(os.environ), set(threading.enumerate()), _children()
    surroundings, here = Surroundings(), Path.cwd()
    sentences: list[str] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as empty, watching() as watcher:
        os.chdir(empty)
        try:
            yield sentences
        finally:
            moved = _here() != os.path.realpath(empty)
            os.chdir(here)
            found = [f"{name} in place" for name, before in contents.items() if content_of(given[name]) != before]  # type: ignore[index]
            found += surroundings.put_back() + (["the working folder"] if moved else [])
            found += _environment_put_back(environment)
            written = set(watcher.files()) - {os.path.realpath(empty)} | {str(path) for path in Path(empty).rglob("*")}
            left = sorted(written)
            stayed = [thread.name for thread in threading.enumerate() if thread not in threads and _stays(thread)]
            born = _ended(_children() - children)
    if found:
        sentences.append(f"it changed {', '.join(found[:3])}{' and more' if len(found) > 3 else ''}")
    if files and left:
        sentences.append(f"it left {_count(left, 'file')} behind, {left[0]}")
    if stayed:
        sentences.append(f"it left {_count(stayed, 'thread')} behind, {', '.join(stayed[:3])}")
    if born:
        sentences.append(f"it left {_count(born, 'process')} behind, {', '.join(born[:3])}")


def _stays(thread: threading.Thread) -> bool:
    """Whether it is more than about to end."""
    thread.join(MOMENT)
    return thread.is_alive()


def _here() -> str:
    try:
        return os.path.realpath(Path.cwd())
    except OSError:  # it was deleted
        return ""


def _environment_put_back(before: Mapping[str, str]) -> list[str]:
    """The variables that differ by now."""
    now = dict(os.environ)
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    for name in names:
        os.environ.pop(name, None)
        if name in before:
            os.environ[name] = before[name]
    return [f"the variable {name}" for name in names]


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _ended(processes: set[psutil.Process]) -> list[str]:
    """Names of those that were still running; they are ended."""
    names = []
    for process in processes:
        try:
            command = process.cmdline()
            if process.status() != psutil.STATUS_ZOMBIE and not any(helper in " ".join(command) for helper in HELPERS):
                names.append(process.name())
                process.kill()
                process.wait()
        except psutil.NoSuchProcess:
            continue
    return names


def _count(things: list[str], noun: str) -> str:
    plural = "es" if noun.endswith("s") else "s"
    return f"{len(things)} {noun}{plural if len(things) != 1 else ''}"
