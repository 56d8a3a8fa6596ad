"""The leaderboard as a data set that Croissant describes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from finefuse.files import write_whole
from finefuse.types import Board
from finefuse_zoo.reporters._croissant import CONTEXT, file_object, record_set
from finefuse_zoo.reporters.tables import Csv


@dataclass(frozen=True)
class Croissant:
    """`croissant.json`: Croissant 1.0 of `scores.csv` and `costs.csv`, which it writes too, with digests and columns.

    `license`, `url` and `creator` are what only their author knows; what is empty is left out.
    """

    license: str = ""
    url: str = ""
    creator: str = ""

    def write(self, board: Board, folder: Path) -> list[Path]:
        """Write the three files."""
        tables = Csv().write(board, folder)
        parts = [(path, table) for path, table in zip(tables, (board.scores(), board.costs()), strict=True)]
        days = [str(row["finished"])[:10] for row in board.records if row.get("finished")]
        given = {"license": self.license, "url": self.url, "datePublished": max(days, default="")}
        content = {
            "@context": CONTEXT,
            "@type": "sc:Dataset",
            "conformsTo": "http://mlcommons.org/croissant/1.0",
            "name": board.suite,
            "description": f"The leaderboard of the suite {board.suite}: scores, and costs in seconds, by finefuse.",
            **{name: value for name, value in given.items() if value},
            **({"creator": {"@type": "sc:Organization", "name": self.creator}} if self.creator else {}),
            "version": "1.0.0",
            "distribution": [file_object(path) for path in tables],
            "recordSet": [record_set(path, table) for path, table in parts],
        }
        path = folder / "croissant.json"
        write_whole(path, json.dumps(content, indent=1) + "\n")
        return [path, *tables]
