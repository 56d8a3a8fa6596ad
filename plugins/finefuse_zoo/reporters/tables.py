"""The leaderboard as CSV."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finefuse.files import write_whole
from finefuse.types import Board
from finefuse_zoo.reporters._cells import comma_separated


@dataclass(frozen=True)
class Csv:
    """`scores.csv`, the same bytes for the same results, and `costs.csv`, in seconds; numbers with all their digits.

    Text that a spreadsheet would execute has an apostrophe in front.
    """

    def write(self, board: Board, folder: Path) -> list[Path]:
        """Write both files."""
        paths = [folder / "scores.csv", folder / "costs.csv"]
        for path, table in zip(paths, (board.scores(), board.costs()), strict=True):
            write_whole(path, comma_separated(table), errors="backslashreplace")
        return paths
