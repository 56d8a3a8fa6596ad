"""What was computed of examples, by content address: once, by whoever comes first, and read by all others.

Each entry is a file that appears whole, by rename. Readers hold it open, so one that is removed meanwhile stays theirs.
They copy a part at a time, and check the copy that they use, which no other process can change.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import struct
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from finefuse.types import Record

LARGEST = 256 * 1024**2
"""Bytes that one entry may take."""
PATIENCE = 300.0
"""Seconds for which another process may compute the same before this one computes it too."""
LOCK = ".lock"
END = struct.Struct("<32sQ")
"""The digest and the length of what says how the parts lie, which comes before it."""
KINDS = {str(kind): kind for kind in (torch.float32, torch.float64, torch.bfloat16, torch.float16)}
log = logging.getLogger("finefuse")

Parts = Sequence[Tensor]
Compute = Callable[[Tensor], Tensor]
Make = Callable[[], tuple[Sequence[Tensor], Record]]


class Whole(NamedTuple):
    """The outputs of all parts, what was told of their computation, and whether they were `read`."""

    outputs: Sequence[Tensor]
    told: Record
    read: bool


class DamagedError(Exception):
    """An entry is not what was kept."""


@dataclass
class Layout:
    """How the parts of an entry lie in its file: rows of one kind, size and order, and the digest of each part."""

    kind: str
    shape: list[int]
    strides: list[int]
    digests: list[str] = field(default_factory=list)
    told: Record = field(default_factory=dict)
    """What was said of the computation."""

    @classmethod
    def of(cls, part: Tensor) -> Layout | None:
        """That of a part with one row per example, one after the other without gaps; None for any other."""
        shape, strides = list(part.shape[1:]), list(part.stride()[1:])
        dense = sorted((step, size) for size, step in zip(shape, strides, strict=True) if size > 1)
        sizes = [size for _, size in dense]
        tight = all(step == math.prod(sizes[:place]) for place, (step, _) in enumerate(dense))
        plain = type(part) is Tensor and part.layout == torch.strided and str(part.dtype) in KINDS and part.numel()
        if not plain or not tight or part.stride(0) != math.prod(shape):
            return None
        return cls(str(part.dtype), shape, strides)

    def like(self, other: Layout) -> bool:
        """Whether parts of both may follow each other."""
        return (self.kind, self.shape, self.strides) == (other.kind, other.shape, other.strides)

    @property
    def row(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape) * KINDS[self.kind].itemsize

    def digest(self, memory: memoryview) -> str:
        """Of a part's bytes, and of how they lie."""
        found = hashlib.sha256(repr((self.kind, self.shape, self.strides)).encode())
        found.update(memory)
        return found.hexdigest()

    def empty(self, rows: int) -> tuple[Tensor, memoryview]:
        """A part of so many rows, and the same memory as bytes."""
        flat = torch.empty(rows * math.prod(self.shape), dtype=KINDS[self.kind])
        part = flat.as_strided((rows, *self.shape), (math.prod(self.shape), *self.strides))
        return part, flat.view(torch.uint8).numpy().data

    def copies(self, file: BufferedIOBase, rows: Sequence[int]) -> Iterator[Tensor]:
        """The parts that lie in a file one after the other.

        Raises:
            DamagedError: at one that is not what was kept.
        """
        for count, known in zip(rows, self.digests, strict=True):
            copy, view = self.empty(count)
            if file.readinto(view) != len(view) or self.digest(view) != known:
                raise DamagedError("it is not what was kept")
            yield copy


class Computed:
    """The entries of a store, `<root>/shared/<2 hex>/<address>`, which together take at most `room` bytes."""

    def __init__(self, root: Path, room: int) -> None:
        self._root, self._folder, self._room = root, root / "shared", room

    def each(self, address: str, parts: Parts, compute: Compute, *, only_read: bool = False) -> Iterator[Tensor] | None:
        """`compute` of every part, read where it is kept; a second process waits for the one that computes the same.

        What is not one dense row of floating-point numbers for each example, or takes too much room, isn't kept. None
        if it is not there, and it is `only_read`.
        """
        file = self._open(address)
        if file is not None:
            return self._read(file, address, parts, compute)
        return None if only_read else self._first(address, parts, compute)

    def _first(self, address: str, parts: Parts, compute: Compute) -> Iterator[Tensor]:
        with self._turn(address) as mine:
            file = self._open(address)
            if file is None:
                yield from self._made(address, parts, compute) if mine else map(compute, parts)
                return
        yield from self._read(file, address, parts, compute)

    def _open(self, address: str) -> BufferedIOBase | None:
        path = self._path(address)
        with suppress(OSError):  # evicted just now, or a folder that can't be read
            return path.open("rb") if path.is_file() else None
        return None

    def once(self, address: str, parts: Parts, make: Make, *, only_read: bool = False) -> Whole | None:
        """What `make` gives for all parts together, as `each` does it; what it tells is kept too."""
        found = self._whole(address, parts)
        if found is not None or only_read:
            return found
        with self._turn(address) as mine:
            found = self._whole(address, parts)
            if found is not None:
                return found
            outputs, told = make()
            if mine:
                self._keep(address, outputs, told)
        return Whole(outputs, told, read=False)

    def _whole(self, address: str, parts: Parts) -> Whole | None:
        file, rows = self._open(address), [len(part) for part in parts]
        if file is None:
            return None
        try:
            with file:
                layout = _layout(file, rows)
                self._used(address)
                return Whole([*layout.copies(file, rows)], layout.told, read=True)
        except (DamagedError, OSError) as error:
            self._remove(address, error)
            return None

    def _read(self, file: BufferedIOBase, address: str, parts: Parts, compute: Compute) -> Iterator[Tensor]:
        rows, done = [len(part) for part in parts], 0
        try:
            with file:
                layout = _layout(file, rows)
                self._used(address)
                for copy in layout.copies(file, rows):
                    yield copy
                    done += 1
        except (DamagedError, OSError) as error:
            self._remove(address, error)
            yield from map(compute, parts[done:])

    def _used(self, address: str) -> None:
        with suppress(OSError):  # evicted just now, or a folder that is only read
            os.utime(self._path(address))

    def _remove(self, address: str, why: Exception) -> None:
        log.warning("%s: damaged, and computed again: %s", self._path(address), why)
        with suppress(OSError):
            self._path(address).unlink(missing_ok=True)

    def _keep(self, address: str, outputs: Sequence[Tensor], told: Record) -> None:
        with self._draft() as draft:
            for out in outputs:
                draft.add(out, sum(map(len, outputs)))
            if draft.finish(self._path(address), told):
                self._make_room()

    def _draft(self) -> _Draft:
        return _Draft(self._root / "drafts" / uuid.uuid4().hex, min(LARGEST, self._room))

    def _made(self, address: str, parts: Parts, compute: Compute) -> Iterator[Tensor]:
        with self._draft() as draft:
            for part in parts:
                out = compute(part)
                draft.add(out, sum(map(len, parts)))
                yield out
            if draft.finish(self._path(address), {}):
                self._make_room()

    def _make_room(self) -> None:
        """Remove what has not been used for longest, until all that is left has room."""
        with suppress(OSError):  # another process does the same
            entries = [(path.stat(), path) for path in self._folder.glob("??/*") if path.suffix != LOCK]
            left = sum(stat.st_size for stat, _ in entries)
            for stat, path in sorted(entries, key=lambda entry: entry[0].st_mtime_ns):
                if left <= self._room:
                    return
                path.unlink(missing_ok=True)
                left -= stat.st_size

    @contextmanager
    def _turn(self, address: str) -> Iterator[bool]:
        """Wait until no other process computes this; False if one still does after `PATIENCE`, or nothing can be kept.

        The system releases the lock if its holder dies.
        """
        path = self._path(address)
        lock = FileLock(path.with_name(f"all{LOCK}"), timeout=PATIENCE)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except (OSError, Timeout) as error:
            log.warning("%s: nothing is shared here: %s", path.parent, error)
        try:
            yield lock.is_locked
        finally:
            lock.release()

    def _path(self, address: str) -> Path:
        return self._folder / address[:2] / address


class _Draft:
    """The file of an entry that is being computed; given up where the parts are unlike, too large, or the disk full."""

    def __init__(self, path: Path, most: int) -> None:
        self._path, self._most = path, most
        self._file: BufferedIOBase | None = None
        self._layout: Layout | None = None
        self._alive = True

    def __enter__(self) -> _Draft:
        return self

    def __exit__(self, *_: object) -> None:
        self._give_up()

    def add(self, part: Tensor, rows: int) -> None:
        """Write the next part of an entry with so many rows."""
        layout = Layout.of(part) if self._alive else None
        known = self._layout = self._layout or layout
        if layout is None or known is None or not layout.like(known) or layout.row * rows > self._most:
            self._give_up()
            return
        flat = part.as_strided((part.numel(),), (1,)).view(torch.uint8).numpy().data
        known.digests.append(known.digest(flat))
        with self._or_give_up():
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("xb")
            self._file.write(flat)

    def finish(self, path: Path, told: Record) -> bool:
        """Close the file and give it its name; whether it is there now."""
        if not self._alive or self._file is None or self._layout is None:
            return False
        end = json.dumps(asdict(replace(self._layout, told=told))).encode()
        with self._or_give_up():
            self._file.write(end + END.pack(hashlib.sha256(end).digest(), len(end)))
            self._file.close()
            self._path.chmod(0o444)
            self._path.replace(path)
        return self._alive

    @contextmanager
    def _or_give_up(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            log.warning("%s: can't be written, so nothing is shared: %s", self._path, error.strerror or error)
            self._give_up()

    def _give_up(self) -> None:
        self._alive = False
        with suppress(OSError):
            if self._file is not None:
                self._file.close()
            self._path.unlink(missing_ok=True)


def _layout(file: BufferedIOBase, rows: Sequence[int]) -> Layout:
    """What the end of an entry says of its parts, if they have so many rows.

    Raises:
        DamagedError: if it says anything else than it may.
    """
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(size - END.size)
        known, length = END.unpack(file.read(END.size))
        start = file.seek(size - END.size - length)
        end = file.read(length)
        if hashlib.sha256(end).digest() != known:
            raise DamagedError("its end is not what was kept")
        layout = Layout(**json.loads(end))
        whole = start == layout.row * sum(rows) and len(layout.digests) == len(rows)
        fits = layout.empty(1)[0].shape == (1, *layout.shape)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, RecursionError, struct.error):
        raise DamagedError("its end can't be read") from None
    if not whole or not fits:
        raise DamagedError("it has another size")
    file.seek(0)
    return layout
