"""The leaderboard as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finefuse.files import write_whole
from finefuse.types import Board


@dataclass(frozen=True)
class Markdown:
    """`leaderboard.md`: the tables and notes as they are printed."""

    def write(self, board: Board, folder: Path) -> list[Path]:
        """Write the one file."""
        path = folder / "leaderboard.md"
        write_whole(path, board.to_markdown() + "\n")
        return [path]
