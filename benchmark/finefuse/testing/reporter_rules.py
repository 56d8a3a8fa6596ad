"""The rules for reporters: boards of any size, and names that are no friends of the format."""

from __future__ import annotations

import csv
import json
import re
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from finefuse.testing.boards import HOSTILE, small_board
from finefuse.testing.report import Check, Report, conform, made, require
from finefuse.testing.traces import leaving_no_trace
from finefuse.types import Board

HUGE = 300
SPREADSHEET = ("=", "+", "-", "@")
"""What a spreadsheet takes for the beginning of a formula."""


def check_reporter(reporter: Any, *, skip: Collection[str] = (), expected: Mapping[str, str] | None = None) -> Report:
    """Try a reporter, a class or an instance, against every rule of `REPORTER_CHECKS` that is not in `skip`.

    Raises:
        AssertionError: that lists the rules it breaks, and how.
    """
    return conform(reporter, REPORTER_CHECKS, skip, expected)


def _written(reporter: Any, board: Board) -> dict[str, bytes]:
    """The files by their names; they must be those that it tells, and lie in the folder that it is given."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent).resolve() / "out"
        folder.mkdir()
        told = made(reporter).write(board, folder)
        require(isinstance(told, Sequence), f"`write` gave {told!r}, and not the files it wrote")
        named = sorted(Path(path).resolve() for path in told)
        there = sorted(path for path in Path(parent).resolve().rglob("*") if path.is_file())
        outside = [path.name for path in there if not path.is_relative_to(folder)]
        require(not outside, f"it wrote {', '.join(outside)} outside the folder")
        require(named == there, f"it tells {_names(named)}, and wrote {_names(there)}")
        return {str(path.relative_to(folder)): path.read_bytes() for path in there}


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths) or "nothing"


def _tells(reporter: Any) -> None:
    files = _written(reporter, small_board())
    require(files, "it wrote nothing")
    blank = [name for name, content in files.items() if not content.strip()]
    require(not blank, f"{', '.join(blank)} is empty")


def _repeats(reporter: Any) -> None:
    first, second = (_written(reporter, small_board()) for _ in range(2))
    different = [name for name in first.keys() | second.keys() if first.get(name) != second.get(name)]
    require(not different, f"two reports of one board differ in {', '.join(sorted(different))}")


def _board_kept(reporter: Any) -> None:
    board = small_board()
    lines, pools = board.lines.copy(deep=True), board.pools.copy(deep=True)
    _written(reporter, board)
    require(lines.equals(board.lines) and pools.equals(board.pools), "it changed the board")


def _empty(reporter: Any) -> None:
    _read(_written(reporter, small_board(())))


def _huge(reporter: Any) -> None:
    _read(_written(reporter, small_board([f"scheme-{n}" for n in range(HUGE)])))


def _hostile(reporter: Any) -> None:
    _read(_written(reporter, small_board(HOSTILE)), hostile=True)


def _read(files: Mapping[str, bytes], *, hostile: bool = False) -> None:
    """What other programs would read can be read."""
    for name, content in files.items():
        ending, text = Path(name).suffix, content.decode("utf-8", errors="replace")
        if ending in (".json", ".ipynb"):
            _parsed(name, lambda: json.loads(content, parse_constant=_no_number))  # noqa: B023
        elif ending in (".svg", ".xml"):
            _parsed(name, lambda: ElementTree.fromstring(content))  # noqa: B023
        elif ending == ".csv":
            table = list(csv.reader(text.splitlines()))
            widths = {len(row) for row in table}
            require(len(widths) <= 1, f"{name} has rows of {' and '.join(map(str, sorted(widths)))} cells")
            formulas = [cell for row in table for cell in row if cell in HOSTILE and cell.startswith(SPREADSHEET)]
            require(not formulas, f"{name} has {formulas[:1]}, which a spreadsheet would execute")
        elif ending in (".html", ".htm", ".md") and hostile:
            require(not re.search(r"(?<!\\)<img src=x", text), f"{name} has a name of the board as a tag, unescaped")


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def _parsed(name: str, parse: Any) -> None:
    try:
        parse()
    except (ValueError, ElementTree.ParseError) as error:
        raise AssertionError(f"{name} can't be read: {error}") from error


def _traces(reporter: Any) -> None:
    with leaving_no_trace():
        _written(reporter, small_board())


REPORTER_CHECKS: dict[str, Check] = {
    "tells-what-it-wrote": _tells,
    "same-board-same-bytes": _repeats,
    "board-keeps-its-numbers": _board_kept,
    "an-empty-board": _empty,
    "a-huge-board": _huge,
    "hostile-names": _hostile,
    "nothing-else-is-changed": _traces,
}
