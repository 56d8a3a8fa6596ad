"""The leaderboard in a few lines, and a badge."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from finefuse.files import write_whole
from finefuse.types import Board
from finefuse_zoo.reporters._badge import COLOUR, badge
from finefuse_zoo.reporters._best import best_lines, told


@dataclass(frozen=True)
class Summary:
    """`summary.md`, short enough for a README: the best line of each table; with `badge.svg` and `badge.json`.

    `rows` is the most tables that are shown. `badge.json` is an endpoint for shields.io.
    """

    rows: Annotated[int, Ge(1)] = 12

    def write(self, board: Board, folder: Path) -> list[Path]:
        """Write the three files."""
        best = list(best_lines(board.with_short_names(board.lines)))
        label = f"finefuse {board.suite}"
        message = told(best)
        paths = [folder / name for name in ("summary.md", "badge.svg", "badge.json")]
        endpoint = {"schemaVersion": 1, "label": label, "message": message, "color": COLOUR.strip("#")}
        texts = ["\n".join(self._markdown(board, best)), badge(label, message), json.dumps(endpoint)]
        for path, text in zip(paths, texts, strict=True):
            write_whole(path, text + "\n", errors="backslashreplace")
        return paths

    def _markdown(self, board: Board, best: list[dict[str, Any]]) -> Iterator[str]:
        yield f"![{_cell(board.suite)}](badge.svg)\n"
        yield "| data set | backbone | best | score | seconds | as good, for all that can be told |"
        yield "|:--|:--|:--|--:|--:|--:|"
        for line in best[: self.rows]:
            half = f" ± {line['half']:.4f}" if line["half"] else ""
            cells = [line["dataset"], line["backbone"], line["name"]]
            figures = [
                f"{line['metric']} {line['score']:.4f}{half}",
                line["seconds"],
                f"{line['tied']} of {line['of']}",
            ]
            yield f"| {' | '.join(map(_cell, [*cells, *figures]))} |"
        if len(best) > self.rows:
            yield f"\nand {len(best) - self.rows} more tables."
        if board.notes:
            yield f"\n{_cell(board.notes[0])} Made by finefuse."


def _cell(text: object) -> str:
    return html.escape(" ".join(str(text).split()), quote=False).replace("|", "\\|")
