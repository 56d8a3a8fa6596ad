"""One writer at a time for a folder, on any system."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from finefuse.errors import StoreError

LOCK, HOLDER = ".lock", ".holder"
"""The locked file, and one that names its holder: on some systems no other process can read a locked file."""


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Be the only process that writes to this existing folder; the system releases the lock if this process dies.

    Raises:
        OSError: if the folder can't be written to.
        StoreError: if another process holds the lock, which is named, or the file system has no locks.
    """
    from filelock import FileLock, Timeout

    path, holder = folder / LOCK, folder / HOLDER
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise StoreError(
            f"{folder}: another run (process {_told(holder)}) is writing here; wait for it or give another --out."
        ) from None
    except OSError as error:
        if error.errno != errno.ENOLCK:
            raise
        raise StoreError(f"{path}: can't be locked: {error.strerror or error}.") from error
    try:
        holder.write_text(f"{os.getpid()}\n", encoding="ascii")
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _told(holder: Path) -> str:
    """Who says to hold the lock."""
    try:
        return holder.read_text(encoding="ascii", errors="replace").strip() or "unknown"
    except OSError:
        return "unknown"
