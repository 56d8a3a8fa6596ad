"""Images by class directories, in a folder or in a tar archive: what is there, and a digest of it. Reads no image."""

from __future__ import annotations

import json
import os
import tarfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path

from finefuse import FinefuseError
from finefuse_zoo.datasets._files import cache_folder, digest_of_text, digests, write_whole

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz")
PARTS = {"train", "training", "test", "testing", "val", "valid", "validation"}
"""Names of directories that are parts of a data set; nobody's classes are called so and nothing else."""


@dataclass(frozen=True)
class Tree(ABC):
    """`where` is a folder, or a path that leads into an archive."""

    where: Path

    @abstractmethod
    def directories(self) -> list[str]:
        """Names of the directories at the top."""

    @abstractmethod
    def names(self) -> list[str]:
        """Images below these directories, as `class/file.jpg`, always in the same order."""

    @abstractmethod
    def digest(self) -> str:
        """Stands for the content of all images; what was read before and did not change is not read again."""

    @abstractmethod
    def contents(self) -> Iterator[tuple[str, Path | bytes]]:
        """Every image of `names`, in that order, with the path of its file or what stands in it."""

    def classes(self) -> list[str]:
        """The class directories, sorted.

        Raises:
            FinefuseError: if there are fewer than two, or they look like train and test.
        """
        found = sorted(name for name in self.directories() if not name.startswith("."))
        if len(found) < 2:
            has = f"only {found[0]!r}" if found else "none"
            raise FinefuseError(f"{self.where}: expected a directory of images for every class, and there is {has}")
        if {name.lower() for name in found} <= PARTS:
            raise FinefuseError(f"{self.where}: {' and '.join(found)} are no classes; give their paths one by one")
        return found


class FolderTree(Tree):
    """A folder."""

    def directories(self) -> list[str]:
        """Names of the directories at the top; links to directories count."""
        with os.scandir(self.where) as entries:
            return [entry.name for entry in entries if entry.is_dir()]

    def names(self) -> list[str]:
        """Sorted."""
        found: list[str] = []
        for top in self.classes():
            for folder, _, files in os.walk(self.where / top, followlinks=True):
                inside = Path(folder).relative_to(self.where).as_posix()
                found += [f"{inside}/{name}" for name in files if _is_image(name)]
        return sorted(found)

    def digest(self) -> str:
        """Of names and contents."""
        known = digests(self.where, self.names())
        return digest_of_text(*known.keys(), *known.values())

    def contents(self) -> Iterator[tuple[str, Path | bytes]]:
        """Paths."""
        for name in self.names():
            yield name, self.where / name


@dataclass(frozen=True)
class ArchiveTree(Tree):
    """A folder in a tar archive, which is read from front to back and never unpacked."""

    archive: Path

    def directories(self) -> list[str]:
        """Those that hold images, at any depth."""
        return list({name.partition("/")[0] for name in self.names()})

    def names(self) -> list[str]:
        """In the order of the archive; remembered, because a compressed one has to be unpacked to be listed."""
        memory = cache_folder() / "archives" / f"{self._content()}.json"
        if memory.is_file():
            members = json.loads(memory.read_bytes())
        else:
            with self._opened() as tar:
                members = [member.name for member in tar if member.isfile() and _is_image(member.name)]
            write_whole(memory, json.dumps(members))
        prefix = self._prefix()
        return [name for name in (_inside(prefix, member) for member in members) if name]

    def digest(self) -> str:
        """Of the archive and the folder in it."""
        return digest_of_text(self._content(), self._folder())

    def contents(self) -> Iterator[tuple[str, Path | bytes]]:
        """What stands in the files."""
        prefix = self._prefix()
        with self._opened() as tar:
            for member in tar:
                name = _inside(prefix, member.name) if member.isfile() and _is_image(member.name) else ""
                file = tar.extractfile(member) if name else None
                if file is not None:
                    yield name, file.read()

    def _content(self) -> str:
        name = self.archive.name
        return digests(self.archive.parent, [name], about=name)[name][:32]

    def _folder(self) -> str:
        return self.where.relative_to(self.archive).as_posix()

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
    """`class/file.jpg`, or "" for what lies elsewhere or in no directory."""
    name = member.removeprefix("./")
    inside = name.removeprefix(prefix) if name.startswith(prefix) else ""
    return inside if "/" in inside and not inside.startswith(".") else ""


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGES) and not name.rpartition("/")[2].startswith(".")
