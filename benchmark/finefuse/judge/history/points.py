"""The points of a history: the results of each commit that changed them, or of each folder of several."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from finefuse.errors import FinefuseError, StoreError
from finefuse.git import blob, git
from finefuse.judge.gate.sides import Side, read_side
from finefuse.types import Record

RECORDS, PLAN = "records.jsonl", "plan.json"


@dataclass(frozen=True)
class Point:
    """The results of one commit or folder: `name` is short, and `when` a date and time."""

    name: str
    when: str
    title: str
    side: Side

    @property
    def rows(self) -> list[Record]:
        """The rows of lines and of their latencies."""
        return list(self.side.rows.values())


class Commit(NamedTuple):
    """A commit that left a file in `path`, counted from the top of the working tree."""

    name: str
    when: str
    title: str
    path: str


def points_of(folder: Path, last: int | None = None) -> tuple[list[Point], list[str]]:
    """The points, the oldest first, `last` of them at most; and a sentence about whatever was left out.

    A folder with records is looked up in git, any other one holds folders with records.

    Raises:
        FinefuseError: if there is no such folder, it has no history, or no point of it can be read.
    """
    if not folder.is_dir():
        raise FinefuseError(f"{folder}: no such folder.")
    dated = sorted(path.parent for path in folder.glob(f"*/{RECORDS}"))
    points, notes = _dated(folder, dated) if dated and not (folder / RECORDS).exists() else _committed(folder, last)
    if not points:
        raise FinefuseError(f"{folder}: none of its results can be read; the first: {notes[0]}")
    return (points[-last:] if last else points), notes


def _dated(root: Path, folders: Sequence[Path]) -> tuple[list[Point], list[str]]:
    """Folders by when their last row was finished.

    Raises:
        StoreError: if they are of several suites.
    """
    points, notes, suites = list[Point](), list[str](), set[str]()
    for folder in folders:
        if point := _read(folder, f"{folder}/", Commit(folder.name, "", folder.name, ""), notes):
            points.append(point)
            suites |= {str(row.get("suite")) for row in point.rows}
    if len(suites) > 1:
        raise StoreError(
            f"{root}: holds results of several suites, {', '.join(sorted(suites))}; expected those of one."
        )
    return sorted(points, key=lambda point: (point.when, point.name)), notes


def _committed(folder: Path, last: int | None) -> tuple[list[Point], list[str]]:
    try:
        top = Path(git(folder, "rev-parse", "--show-toplevel"))
    except FinefuseError as error:
        raise FinefuseError(
            f"{folder}: has no history: it lies in no git repository ({error}), and holds no folders with {RECORDS}."
        ) from None
    commits = list(_commits(folder))
    if not commits:
        raise FinefuseError(f"{folder}: has no history: no commit has its {RECORDS}.")
    points, notes = list[Point](), list[str]()
    if git(folder, "rev-parse", "--is-shallow-repository") == "true":
        notes.append("This clone is shallow, so older commits are not known: fetch them all (`fetch-depth: 0`).")
    for commit in commits[-last:] if last else commits:
        if point := _at(top, commit, notes):
            points.append(point)
    return points, notes


def _commits(folder: Path) -> Iterator[Commit]:
    """Those that changed the records, the oldest first; before they were moved here, too.

    Of a merge only what it brought to this branch counts, so that the states follow each other.
    """
    one_after_the_other = "--first-parent", "--diff-merges=first-parent"
    moved = "--follow", "-M100%", "--diff-filter=d", "--name-only", "-z"  # similar files may be of other suites
    told = git(folder, "log", *one_after_the_other, *moved, "--format=%x01%h%x02%cI%x02%s%x02", "--", RECORDS)
    for entry in reversed(told.split("\x01")[1:]):
        name, when, title, path = entry.split("\x02")
        yield Commit(name, when, title, path.strip("\0\n"))


def _at(top: Path, commit: Commit, notes: list[str]) -> Point | None:
    """The results as they were at a commit; None if they can't be read, which `notes` get a sentence about."""
    inside = commit.path.removesuffix(RECORDS)
    there = git(top, "ls-tree", "--name-only", "-z", commit.name, "--", inside + RECORDS, inside + PLAN).split("\0")
    with TemporaryDirectory() as made:
        for path in filter(None, there):
            (Path(made) / path.removeprefix(inside)).write_bytes(blob(top, f"{commit.name}:{path}"))
        return _read(Path(made), f"{commit.name}:{inside}", commit, notes)


def _read(folder: Path, shown: str, commit: Commit, notes: list[str]) -> Point | None:
    """The point in a folder, which is `shown` in what is said about it."""
    try:
        side = read_side(folder)
    except StoreError as error:
        notes.append(f"Left out: {_renamed(str(error), folder, shown)}")
        return None
    if side.refused:
        first = _renamed(side.refused[0], folder, shown)
        notes.append(f"Damaged lines at {commit.name} are ignored: {len(side.refused)}; the first: {first}")
    finished = max((str(row.get("finished") or "") for row in side.rows.values()), default="")
    return Point(commit.name, commit.when or finished, commit.title, side)


def _renamed(text: str, folder: Path, shown: str) -> str:
    return re.sub(re.escape(str(folder)) + r"[/\\]?", lambda _: shown, text)
