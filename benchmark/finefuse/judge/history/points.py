"""The points of a history: the results of each commit that changed them, or of each folder of several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from finefuse.errors import FinefuseError, StoreError
from finefuse.git import git
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
        try:
            point = _read(folder, folder.name, "", folder.name)
        except StoreError as error:
            notes.append(f"Left out: {error}")
            continue
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
        try:
            points.append(_at(top, commit))
        except StoreError as error:
            notes.append(f"Left out: {error}")
    return points, notes


def _commits(folder: Path) -> Iterator[Commit]:
    """Those that changed the records, the oldest first, under former names too.

    Of a merge only what it brought to this branch counts, so that the states follow each other.
    """
    asked = ("--first-parent", "--diff-merges=first-parent", "--follow", "--diff-filter=d", "--name-only", "-z")
    told = git(folder, "log", *asked, "--format=%x01%h%x02%cI%x02%s%x02", "--", RECORDS)
    for entry in reversed(told.split("\x01")[1:]):
        name, when, title, path = entry.split("\x02")
        yield Commit(name, when, title, path.strip("\0\n"))


def _at(top: Path, commit: Commit) -> Point:
    """The results as they were at a commit.

    Raises:
        StoreError: if they can't be read.
    """
    inside = commit.path.removesuffix(RECORDS)
    there = git(top, "ls-tree", "--name-only", "-z", commit.name, "--", inside + RECORDS, inside + PLAN).split("\0")
    with TemporaryDirectory() as made:
        for path in filter(None, there):
            content = git(top, "cat-file", "blob", f"{commit.name}:{path}")
            (Path(made) / path.removeprefix(inside)).write_text(content, encoding="utf-8")
        try:
            return _read(Path(made), commit.name, commit.when, commit.title)
        except StoreError as error:
            said = str(error).replace(f"{made}/", f"{commit.name}:{inside}").replace(made, f"{commit.name}:{inside}")
            raise StoreError(said) from None


def _read(folder: Path, name: str, when: str, title: str) -> Point:
    side = read_side(folder)
    finished = max((str(row.get("finished") or "") for row in side.rows.values()), default="")
    return Point(name, when or finished, title, side)
