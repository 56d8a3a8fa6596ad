"""From records to a board."""

from __future__ import annotations

import sys
from pathlib import Path

from finefuse.judge.board.leaderboard import make_leaderboard
from finefuse.records import read_results
from finefuse_zoo.reporters.markdown_board import Markdown


def to_markdown(folder: Path) -> list[Path]:
    """Read the records of a folder and write its leaderboard."""
    found = read_results(folder)
    return list(Markdown().write(make_leaderboard(found.suite, found.rows, found.missing), folder))


if __name__ == "__main__":
    to_markdown(Path(sys.argv[1]))
