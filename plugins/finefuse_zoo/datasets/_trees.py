"""Images by class directories, in a folder or in a tar archive: what is there, and a digest of it. Reads no image."""

from __future__ import annotations

import json
import tarfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from lzma import LZMAError
from pathlib import Path

from finefuse import FinefuseError
from finefuse.files import cache_folder, digest_of_text, digests, write_whole
from finefuse_zoo.datasets._walk import (
    BESIDE,
    HEAD,
    HIDDEN,
    OTHER,
    SPECIAL,
    Listing,
    is_hidden,
    is_picture,
    walk,
)

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz")
FOLDER = "folder"
LINKS = "links in an archive"
AGAIN = "files that the archive has once more further on"
PARTS = {"train", "training", "test", "testing", "val", "valid", "validation"}
"""Names of directories that are parts of a data set; no data set has only classes with such names."""


@dataclass(frozen=True)
class Tree(ABC):
    """`where` is a folder, or a path that leads into an archive."""

    where: Path

    @cached_property
    @abstractmethod
    def listing(self) -> Listing:
        """What there is; images always in the same order."""

    @abstractmethod
    def digest(self) -> str:
        """Stands for the content of all images; what was read before and did not change is not read again."""

    @abstractmethod
    def contents(self) -> Iterator[tuple[str, Path | bytes]]:
        """Every image of the listing, in that order, with the path of its file or what stands in it."""

    def classes(self) -> list[str]:
        """The class directories, sorted.

        Raises:
            FinefuseError: if there are fewer than two, or they look like train and test.
        """
        found = self.listing.classes()
        if len(found) < 2:
            has = f"only {found[0]!r}" if found else "none"
            raise FinefuseError(f"{self.where}: expected a directory of images for every class, and there is {has}")
        if {name.lower() for name in found} <= PARTS:
            raise FinefuseError(f"{self.where}: {' and '.join(found)} are not classes; give their paths one by one")
        return found


class FolderTree(Tree):
    """A folder."""

    @cached_property
    def listing(self) -> Listing:
        """Sorted."""
        return walk(self.where)

    def digest(self) -> str:
        """Of names and contents."""
        known = digests(self.where, self.listing.images)
        return digest_of_text(*known.keys(), *known.values())

    def contents(self) -> Iterator[tuple[str, Path | bytes]]:
        """Paths."""
        for name in self.listing.images:
            yield name, self.where / name


@dataclass(frozen=True)
class ArchiveTree(Tree):
    """A folder in a tar archive, which is read from front to back and never unpacked."""

    archive: Path

    @cached_property
    def listing(self) -> Listing:
        """In the order of the archive; remembered, because a compressed one has to be unpacked to be listed."""
        memory = cache_folder() / "archives" / f"{self._content()}.listing.json"
        if memory.is_file():
            members = json.loads(memory.read_bytes())
        else:
            members = self._members()
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_whole(memory, json.dumps(members))
        found = Listing([], [], [])
        for what, member in members:
            name = _inside(self._prefix, member)
            if name and what != FOLDER and is_hidden(name):
                found.left_out.append((HIDDEN, name))
            elif name and what == FOLDER:
                found.directories.append(name.partition("/")[0])
            elif name and (what or "/" not in name):
                found.left_out.append((what or BESIDE, name))
            elif name:
                found.directories.append(name.partition("/")[0])
                found.images.append(name)
        tops = dict.fromkeys(name for name in found.directories if not is_hidden(name))
        return Listing(found.images, list(tops), found.left_out)

    def digest(self) -> str:
        """Of the archive and the folder in it."""
        return digest_of_text(self._content(), self._folder())

    def contents(self) -> Iterator[tuple[str, Path | bytes]]:
        """The names and contents of the images."""
        images, again = set(self.listing.images), Counter(name for why, name in self.listing.left_out if why == AGAIN)
        with self._opened() as tar:
            for member in tar:
                name = _inside(self._prefix, member.name)
                file = tar.extractfile(member) if member.isfile() and name in images else None
                if file is not None and again[name]:
                    again[name] -= 1
                elif file is not None:
                    yield name, file.read()

    def _members(self) -> list[tuple[str, str]]:
        """Every member, with why it is left out, or "" for an image; of those with one name the last one counts."""
        found: list[tuple[str, str]] = []
        last: dict[str, int] = {}
        with self._opened() as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if what := _kind(tar, member):
                    found.append((what, name))
                    continue
                if name in last:
                    found[last[name]] = AGAIN, name
                last[name] = len(found)
                found.append(("", name))
        return found

    def _content(self) -> str:
        name = self.archive.name
        return digests(self.archive.parent, [name], about=name)[name][:32]

    def _folder(self) -> str:
        return self.where.relative_to(self.archive).as_posix()

    @cached_property
    def _prefix(self) -> str:
        """What the names of members in the folder begin with."""
        folder = self._folder()
        return "" if folder == "." else f"{folder}/"

    @contextmanager
    def _opened(self) -> Iterator[tarfile.TarFile]:
        try:
            with tarfile.open(self.archive, "r|*") as tar:
                yield tar
        except (tarfile.TarError, EOFError, LZMAError, zlib.error, OSError) as error:
            raise FinefuseError(f"{self.archive}: not an archive that can be read: {error}") from error


def tree_at(where: Path) -> Tree:
    """The images at a path: a folder, an archive, or a folder in an archive as in `images.tar.xz/train`.

    Raises:
        FinefuseError: if there is neither.
    """
    if where.is_dir():
        return FolderTree(where)
    for path in (where, *where.parents):
        if path.is_file():
            if path.name.lower().endswith(ARCHIVES):
                return ArchiveTree(where, path)
            raise FinefuseError(f"{path}: neither a folder nor an archive ({', '.join(ARCHIVES)})")
    raise FinefuseError(f"{where}: there is no such folder or archive")


def _inside(prefix: str, member: str) -> str:
    """A member's path in the folder, or "" for what lies elsewhere."""
    name = member.removeprefix("./")
    return name.removeprefix(prefix) if name.startswith(prefix) else ""


def _kind(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    """Why a member is left out, "" for an image."""
    if member.isdir():
        return FOLDER
    if not member.isfile():
        return LINKS if member.issym() or member.islnk() else SPECIAL
    if is_picture(member.name, b""):
        return ""
    file = tar.extractfile(member)
    return "" if file is not None and is_picture(member.name, file.read(HEAD)) else OTHER
