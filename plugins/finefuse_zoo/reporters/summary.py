"""The leaderboard in a few lines, and a badge."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from finefuse.files import write_whole
from finefuse.types import Board, First
from finefuse_zoo.reporters._badge import COLOUR, badge


@dataclass(frozen=True)
class Summary:
    """`summary.md`, short enough for a README: the best line of each table; with `badge.svg` and `badge.json`.

    `rows` is the most tables that are shown. `badge.json` is an endpoint for shields.io.
    """

    rows: Annotated[int, Ge(1)] = 12

    def write(self, board: Board, folder: Path) -> list[Path]:
        """Write the three files."""
        best = board.firsts()
        label = f"finefuse {board.suite}"
        message = _told(best)
        paths = [folder / name for name in ("summary.md", "badge.svg", "badge.json")]
        endpoint = {"schemaVersion": 1, "label": label, "message": message, "color": COLOUR.strip("#")}
        texts = ["\n".join(self._markdown(board, best)), badge(label, message), json.dumps(endpoint)]
        for path, text in zip(paths, texts, strict=True):
            write_whole(path, text + "\n", errors="backslashreplace")
        return paths

    def _markdown(self, board: Board, best: Sequence[First]) -> Iterator[str]:
        yield f"![{_cell(board.suite)}](badge.svg)\n"
        yield "| data set | backbone | best | score | seconds | as good, for all that can be told |"
        yield "|:--|:--|:--|--:|--:|--:|"
        for line in best[: self.rows]:
            half = f" ± {line.half:.4f}" if 0 < line.half < math.inf else ""
            seconds = f"{'~' * line.contended}{line.seconds:.3g}" if line.seconds >= 0 else ""
            score = f"{line.metric} {line.score:.4f}{half}"
            cells = [line.dataset, line.backbone, line.name, score, seconds, f"{line.tied} of {line.others}"]
            yield f"| {' | '.join(map(_cell, cells))} |"
        if len(best) > self.rows:
            yield f"\nand {(more := len(best) - self.rows)} more table{'s' * (more > 1)}."
        if any(line.contended for line in best[: self.rows]):
            yield "\n~ marks seconds taken beside other work."
        if board.notes:
            yield f"\n{_cell(board.notes[0])} Made by finefuse."


def _told(best: Sequence[First]) -> str:
    """The first of them, as a badge has it."""
    if not best:
        return "no scores"
    first = best[0]
    text = f"{first.name} {first.metric} {first.score:.4g}"
    return text if len(best) == 1 else f"{text} on {first.dataset}, and {len(best) - 1} more"


def _cell(text: object) -> str:
    return html.escape(" ".join(str(text).split()), quote=False).replace("|", "\\|")
