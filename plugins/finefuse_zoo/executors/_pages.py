"""Memory in large pages: a process that has it is copied, and ends, in half the time."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

MAPS = Path("/proc/self/maps")
SIZE = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
COLLAPSE = 25
"""MADV_COLLAPSE of Linux 6.1; an older one refuses it, and all stays as it is."""


def use_large_pages() -> None:
    """Move this process's own memory to large pages, as far as the system has them."""
    with suppress(OSError):  # another system, or one without large pages
        size, madvise = int(SIZE.read_text()), ctypes.CDLL(None).madvise
        madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        for line in MAPS.read_text().splitlines():
            span, access, _, _, inode, *_ = line.split()
            start, end = (int(address, 16) for address in span.split("-"))
            start, end = -(-start // size) * size, end // size * size
            if access == "rw-p" and inode == "0" and start < end:
                madvise(start, end - start, COLLAPSE)
