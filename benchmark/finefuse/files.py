"""Files of data and weights: digests that are remembered, a cache folder, locks, and texts written whole or not at all.

What a `fingerprint()` is made of. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_cache_path

from finefuse.errors import FinefuseError, StoreError

__all__ = [
    "cache_folder",
    "content_digest",
    "digest_of_text",
    "digests",
    "file_digest",
    "files_in",
    "only_one",
    "processors",
    "shards_in",
    "write_whole",
]

HEAD = 512
"""Bytes that say whether a file is JSON."""
RECENT = 2.0
"""Seconds for which a file may be written again without its time of change telling so."""


def cache_folder() -> Path:
    """`$FINEFUSE_CACHE`, or `finefuse/data` in the user's cache folder."""
    if named := os.environ.get("FINEFUSE_CACHE"):
        return Path(named).expanduser()
    return user_cache_path("finefuse", appauthor=False) / "data"


def processors() -> int:
    """How many threads may run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def digest_of_text(*texts: str) -> str:
    """32 hex digits."""
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


@contextmanager
def only_one(file: Path) -> Iterator[bool]:
    """Wait until no other process holds the lock of this file; False if the file system has no locks.

    The system releases the lock if this process dies.
    """
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    with suppress(OSError):  # some network file systems: then two may do the same work, and one of them in vain
        lock.acquire()
    try:
        yield lock.is_locked
    finally:
        lock.release()


def digests(folder: Path, names: Sequence[str], algorithm: str = "sha256", about: str = "") -> dict[str, str]:
    """Digests of the content of files in a folder, by their names, remembered by size and times of change.

    A file that is replaced and given its old time is read again: the system keeps a time that programs can't set.

    What is remembered lies in one file of the cache folder for each folder and `about`, so that 50,000 small files cost
    a look at each and no reading. A cache folder that can't be written to only costs time.

    Raises:
        FinefuseError: if a file can't be read.
    """
    memory = cache_folder() / "digests" / f"{digest_of_text(str(folder.resolve()), about, algorithm)}.json"
    known, now = _recall(memory), time.time()
    with _reading():
        stats = {name: os.stat(f"{folder}/{name}") for name in names}  # noqa: PTH116 - ten times as fast as a Path's
        stamps = {name: [s.st_size, s.st_mtime_ns, s.st_ctime_ns] for name, s in stats.items()}
        found = {name: row[3] for name, row in known.items() if row[:3] == stamps.get(name)}
        missing = [name for name in names if name not in found]
        with ThreadPoolExecutor(processors()) as pool:
            read = pool.map(lambda name: _digest(folder / name, algorithm), missing)
            found |= zip(missing, read, strict=True)
    settled = {
        name: [*stamps[name], found[name]]
        for name in names
        if now - max(stats[name].st_mtime, stats[name].st_ctime) > RECENT
    }
    if missing or len(settled) != len(known):
        with suppress(OSError, StoreError):
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_whole(memory, json.dumps(settled))
    return {name: found[name] for name in names}


def file_digest(path: Path) -> str:
    """The sha256 of a file's content, remembered as `digests` does.

    Raises:
        FinefuseError: if it can't be read.
    """
    real = path.resolve()
    return digests(real.parent, [real.name], about=f"file {real.name}")[real.name]


def content_digest(path: Path) -> str:
    """Stands for the content of a file, with the shards that it names if it is an index, or of all files of a folder.

    Raises:
        FinefuseError: if something of it can't be read.
    """
    if path.is_dir():
        known = digests(path, files_in(path))
        return digest_of_text(*known.keys(), *known.values())
    own = file_digest(path)
    shards = [shard for name in shards_in(path) if (shard := path.parent / name).is_file()]
    return digest_of_text(own, *map(file_digest, shards)) if shards else own


def shards_in(file: Path) -> list[str]:
    """The files that an index of weights names (`model.safetensors.index.json`), sorted; none for any other file."""
    with _reading(), file.open("rb") as content:
        if not content.read(HEAD).lstrip().startswith(b"{"):
            return []
    try:
        names = list(json.loads(file.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return sorted(set(names)) if all(isinstance(name, str) for name in names) else []


def files_in(folder: Path) -> list[str]:
    """All regular files below a folder, by their paths in it, sorted; a folder behind links is gone through once.

    Raises:
        FinefuseError: if a folder can't be read.
    """
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    with _reading():
        for top, inner, names in os.walk(folder, onerror=_raise, followlinks=True):
            status = os.stat(top)  # noqa: PTH116 - as above
            if (status.st_dev, status.st_ino) in seen:
                inner.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            inner.sort()  # which of two ways to a folder comes first must not depend on the file system
            found += [path for name in names if os.path.isfile(path := f"{top}/{name}")]  # noqa: PTH113
    return sorted(name.removeprefix(f"{folder}/") for name in found)


def write_whole(path: Path, text: str, *, errors: Literal["strict", "backslashreplace"] = "strict") -> None:
    """Write a text file in UTF-8: whatever happens meanwhile, it is there as before, or with all of the text.

    `errors` says what becomes of what UTF-8 can't hold, as in `open`.

    Raises:
        StoreError: if the disk is full, say; nothing is left behind then.
    """
    real = Path(os.path.realpath(path))  # a link stays a link
    plain = real.is_file() or not real.exists()
    draft = real.with_name(f".{real.name}.{uuid.uuid4().hex}") if plain else real
    try:
        with draft.open("w", encoding="utf-8", errors=errors, newline="\n") as file:
            file.write(text)
            file.flush()
            if plain:
                os.fsync(file.fileno())
        if plain:
            draft.replace(real)
    except OSError as error:
        raise StoreError(f"{path}: can't be written: {error.strerror or error}.") from error
    finally:
        if plain:
            draft.unlink(missing_ok=True)


def _recall(memory: Path) -> dict[str, list[Any]]:
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError):  # none yet, or spoilt: the files are read again
        return {}
    whole = isinstance(known, dict) and all(isinstance(row, list) and len(row) == 4 for row in known.values())
    return known if whole else {}


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _raise(error: OSError) -> None:
    raise error


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FinefuseError(f"{error.filename} can't be read: {error.strerror}") from error
