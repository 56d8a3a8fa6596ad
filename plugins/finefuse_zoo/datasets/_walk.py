"""What is below a folder: pictures, and all else with the reason why it is left out. Nothing is dropped in silence."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from finefuse import FinefuseError
from finefuse_zoo.datasets._look import some

IMAGES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
)
SYSTEM = {
    *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
    *("@eadir", "lost+found", "__pycache__"),
}
"""Names of what systems and programs leave beside pictures, previews of them among it."""
HEAD = 12
"""Bytes at the beginning of a file that say what it is."""
HIDDEN = "hidden and system files"
OTHER = "files that are no pictures"
BESIDE = "files beside the directories of the classes"
SPECIAL = "pipes, sockets and devices"
LOST = "links that lead nowhere"
CIRCLE = "links to folders that are read anyway"


@dataclass(frozen=True)
class Listing:
    """Pictures as `class/file.jpg`; directories at the top; what is left out as (why, name)."""

    images: list[str]
    directories: list[str]
    left_out: list[tuple[str, str]]

    def classes(self) -> list[str]:
        """The names of the directories at the top, sorted; those that differ in Unicode's form alone are one class."""
        return sorted({class_of(name) for name in self.directories})

    def remarks(self, where: Path) -> list[str]:
        """What a person has to know of it, at most two sentences."""
        reasons: dict[str, list[str]] = {}
        for why, name in sorted(self.left_out):
            reasons.setdefault(why, []).append(name)
        told = [f"{why} ({len(names)}: {some(names)})" for why, names in reasons.items()]
        found = [f"{where}: left out are {'; '.join(told)}"] if told else []
        forms = Counter(map(class_of, self.directories))
        if twice := sorted(name for name, count in forms.items() if count > 1):
            found.append(f"{where}: directories whose names differ in their Unicode form are one class: {some(twice)}")
        return found


def class_of(name: str) -> str:
    """The class of a picture `class/file.jpg`, in Unicode's composed form (NFC), as most systems write names."""
    return normalize("NFC", name.partition("/")[0])


def is_hidden(name: str) -> bool:
    """Whether any part of a path is no one's picture, but a system's or a program's."""
    return any(part.startswith(".") or part.casefold() in SYSTEM for part in name.rstrip("/").split("/"))


def is_picture(name: str, head: bytes) -> bool:
    """By a file's ending; by how it begins if it has no ending that is known."""
    begins = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ")
    return (
        name.lower().endswith(IMAGES)
        or head.startswith(begins)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:2] == b"BM" and head[6:10] == bytes(4))
        or (head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace())
        or head[4:12] == b"ftypavif"
    )


def walk(root: Path) -> Listing:
    """A folder with all that is below, links to other folders followed once.

    Raises:
        FinefuseError: if something below can't be looked at.
    """
    listing = Listing([], [], [])
    try:
        _Walk(root, listing).go()
    except OSError as error:
        raise FinefuseError(f"{error.filename} can't be read: {error.strerror}") from error
    listing.images.sort()
    return listing


class _Walk:
    """Goes through a folder in the order of names; `inside` is the path below the root, which ends in "/"."""

    def __init__(self, root: Path, listing: Listing) -> None:
        self.root, self.listing = root, listing
        self.above = {_identity(folder) for folder in (root.resolve(), *root.resolve().parents)}
        self.own = {_identity(Path(top)) for top, _, _ in os.walk(root)}
        self.followed: set[tuple[int, int]] = set()

    def go(self) -> None:
        waiting = [("", False)]
        while waiting:
            inside, linked = waiting.pop()
            with os.scandir(self.root / inside) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
            deeper = [one for entry in found for one in self.look(inside, entry, linked=linked)]
            waiting += reversed(deeper)

    def look(self, inside: str, entry: os.DirEntry[str], *, linked: bool) -> Iterable[tuple[str, bool]]:
        """Sort one thing in; what it gives are folders to go into, and whether a link leads there."""
        name = f"{inside}{entry.name}"
        if is_hidden(entry.name):
            self.listing.left_out.append((HIDDEN, name))
        elif entry.is_dir():
            linked = linked or entry.is_symlink()
            if linked and not self.follows(Path(entry.path)):
                self.listing.left_out.append((CIRCLE, name))
                return
            if not inside:
                self.listing.directories.append(entry.name)
            yield f"{name}/", linked
        elif why := self.wrong(inside, entry):
            self.listing.left_out.append((why, name))
        else:
            self.listing.images.append(name)

    def follows(self, folder: Path) -> bool:
        """Whether a folder behind a link is none that is read already, or that leads back here."""
        identity = _identity(folder)
        if any(identity in known for known in (self.above, self.own, self.followed)):
            return False
        self.followed.add(identity)
        return True

    def wrong(self, inside: str, entry: os.DirEntry[str]) -> str:
        """Why a file is left out; "" for a picture."""
        if not entry.is_file():
            return LOST if entry.is_symlink() and not os.path.lexists(os.path.realpath(entry.path)) else SPECIAL
        if not inside:
            return BESIDE
        if entry.name.lower().endswith(IMAGES):
            return ""
        with open(entry.path, "rb") as file:  # noqa: PTH123 - a DirEntry has no Path
            return "" if is_picture(entry.name, file.read(HEAD)) else OTHER


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
