"""Images decoded once into a file that is mapped into memory: larger than memory works."""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from finefuse import FinefuseError
from finefuse.files import cache_folder, only_one, processors
from finefuse_zoo.datasets._look import AS_USUAL, SAID, Look, place_of, remarks_of
from finefuse_zoo.datasets._pictures import Item, Taken, attempt

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 32 * 1024**2
"""Bytes of pixels that are decoded before they are written."""
GROUP = 32
"""Pictures that a thread takes at once."""
DARK = 4095
"""The most that 12 bits can be: if no picture of 16 bits has more, its white is likely another."""
LARGE = 512 * 1024**2
"""Bytes of chosen pixels from which on they are kept in a file and not in memory."""
UNRESERVED = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
"""Without it Linux refuses a private map that is larger than memory."""
log = logging.getLogger("finefuse")


@dataclass(frozen=True)
class Images:
    """Pixels `x` (N, C, H, W), uint8, mapped; classes `y` (N,), int64, -1 where a file could not be read.

    `broken` holds the names of such files, and why. What is written to `x` stays in this process.
    """

    x: Tensor
    y: Tensor
    broken: dict[str, str]
    folder: Path


def decoded(content: str, items: Callable[[], Iterable[Item]], shape: tuple[int, ...], look: Look = AS_USUAL) -> Images:
    """The pictures of `items()` as pixels of one shape (C, H, W); decoded if they are not there yet.

    `content` identifies the content of the pictures. The first process decodes with all processors; others wait.

    Raises:
        FinefuseError: if the cache folder can't be written to, what is in it is not whole, no picture can be read, or
            all those of 16 bits would be almost black.
    """
    folder = _made(place_of(content, shape, look), lambda draft: _decode(draft, items(), shape, look))
    meta = json.loads((folder / "meta.json").read_bytes())
    y = torch.tensor(np.fromfile(folder / "labels.i64", dtype="<i8").astype(np.int64))
    return Images(_mapped(folder / "pixels.u8", tuple(meta["shape"])), y, meta["broken"], folder)


def chosen(images: Images, rows: Tensor) -> Tensor:
    """Pixels of some rows, in their order: a part of the map where they are one piece, in memory where they are few.

    More than `LARGE` bytes that are not one piece are copied once into a file that is mapped as well.
    """
    x, n = images.x, len(rows)
    if n and torch.equal(rows, torch.arange(int(rows[0]), int(rows[0]) + n)):
        return x[int(rows[0]) : int(rows[0]) + n]
    if n * x[0].numel() <= LARGE:
        return x[rows]
    key = hashlib.sha256(rows.numpy().tobytes()).hexdigest()[:32]
    pixels, size = images.folder / "pixels.u8", x[0].numel()
    folder = _made(images.folder.parent / f"{images.folder.name}-{key}", lambda draft: _copy(draft, pixels, rows, size))
    return _mapped(folder / "pixels.u8", (n, *x.shape[1:]))


def _decode(draft: Path, items: Iterable[Item], shape: tuple[int, ...], look: Look) -> None:
    size = max(1, BLOCK // int(np.prod(shape)))
    block, labels, peak = np.zeros((size, *shape), np.uint8), [], -1
    told: dict[str, dict[str, str]] = {key: {} for key in SAID}
    left = iter(items)
    with (draft / "pixels.u8").open("wb") as file, ThreadPoolExecutor(processors()) as pool:
        while batch := list(islice(left, size)):
            block[:] = 0
            groups = [batch[first : first + GROUP] for first in range(0, len(batch), GROUP)]
            results = chain.from_iterable(pool.map(partial(_attempts, shape=shape, look=look), groups))
            for row, ((name, _), taken) in enumerate(zip(batch, results, strict=True)):
                labels.append(taken.label)
                peak = max(peak, taken.peak)
                marks = {"broken": taken.pixels is None, "frames": taken.frames, "transparent": taken.transparent}
                for key in (key for key, so in marks.items() if so):
                    told[key][name] = taken.why
                if taken.pixels is not None:
                    block[row] = taken.pixels
            file.write(block[: len(batch)].data)
        _settle(file)
    broken = told["broken"]
    if len(labels) == len(broken):
        raise FinefuseError(f"none of {len(labels)} images can be read: {'; '.join(list(broken.values())[:1])}")
    if 0 < peak <= DARK:
        white = 2 ** peak.bit_length() - 1
        raise FinefuseError(
            f"the images of 16 bits have no value above {peak:,}, and would be almost black: say white = {white}, or "
            f"white = 65535 if they are meant to be so dark"
        )
    np.array(labels, dtype="<i8").tofile(draft / "labels.i64")
    (draft / "meta.json").write_text(json.dumps({"shape": [len(labels), *shape], **told}))
    for sentence in remarks_of(draft, "images", look):
        log.warning("%s", sentence)


def _attempts(items: Sequence[Item], shape: tuple[int, ...], look: Look) -> list[Taken]:
    return [attempt(read, shape, look) for _, read in items]


def _copy(draft: Path, pixels: Path, rows: Tensor, size: int) -> None:
    """By reading and not through the map, whose pages would count as this process's memory."""
    with pixels.open("rb") as source, (draft / "pixels.u8").open("wb") as file:
        for row in rows.tolist():
            source.seek(row * size)
            file.write(source.read(size))
        _settle(file)


def _settle(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _made(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder, which `make` fills as a draft if it does not exist; it appears at once and whole."""
    drafts = cache_folder() / "drafts"
    with _writing():
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with only_one(cache_folder() / "locks" / folder.name) as locked:
            for abandoned in drafts.glob(f"{folder.name}.*") if locked else ():  # by a writer that was killed
                shutil.rmtree(abandoned, ignore_errors=True)
            draft = drafts / f"{folder.name}.{uuid.uuid4().hex}"
            try:
                if not folder.is_dir():
                    draft.mkdir(parents=True)
                    make(draft)
                    _rename(draft, folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    return folder


def _rename(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another writer was first
            raise


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise FinefuseError(
            f"{cache_folder()}: decoded images can't be kept here: {why}; set FINEFUSE_CACHE"
        ) from error


def _mapped(file: Path, shape: tuple[int, ...]) -> Tensor:
    """A file as a tensor; its pages are read when they are used and are the system's to drop."""
    if file.stat().st_size != int(np.prod(shape)):
        raise FinefuseError(f"{file} is not whole; delete {file.parent} and run again")
    with file.open("rb") as opened:
        flags, access = mmap.MAP_PRIVATE | UNRESERVED, mmap.PROT_READ | mmap.PROT_WRITE
        return torch.frombuffer(mmap.mmap(opened.fileno(), 0, flags=flags, prot=access), dtype=torch.uint8).view(shape)
