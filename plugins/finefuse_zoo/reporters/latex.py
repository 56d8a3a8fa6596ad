"""The leaderboard as LaTeX."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from finefuse.files import write_whole
from finefuse.types import TEXT_COLUMNS, Board, Bullets, Heading
from finefuse_zoo.reporters._latex import escaped

if TYPE_CHECKING:
    import pandas as pd

HEADER = r"% \usepackage{booktabs,graphicx}  % what these tables need"


@dataclass(frozen=True)
class Latex:
    """`leaderboard.tex`: the tables with booktabs' rules, as wide as the line at most; `notes` writes the notes too."""

    notes: bool = False

    def write(self, board: Board, folder: Path) -> list[Path]:
        """Write the one file."""
        path = folder / "leaderboard.tex"
        write_whole(path, "\n".join([HEADER, *self._parts(board)]), errors="backslashreplace")
        return [path]

    def _parts(self, board: Board) -> Iterator[str]:
        heading = board.suite
        for block in board.blocks():
            if isinstance(block, Heading):
                heading = block.text
            elif isinstance(block, Bullets):
                items = "".join(f"  \\item {escaped(item)}\n" for item in block.items)
                yield f"\\begin{{itemize}}\n{items}\\end{{itemize}}\n" if self.notes and items else ""
            else:
                yield table(block, heading)


def table(content: pd.DataFrame, caption: str) -> str:
    """A floating table with its caption, scaled down where it is wider than the line."""
    columns = "".join("l" if name in TEXT_COLUMNS else "r" for name in content)
    rows = [_row(content.columns), r"\midrule", *(_row(row) for row in content.itertuples(index=False))]
    body = "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *rows, r"\bottomrule", r"\end{tabular}"])
    fitted = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%" + f"\n{body}}}"
    return "\n".join([r"\begin{table}", r"\centering", rf"\caption{{{escaped(caption)}}}", fitted, "\\end{table}\n"])


def _row(cells: object) -> str:
    texts = [escaped(str(cell)) for cell in cells]  # type: ignore[attr-defined]
    return f"{' & '.join(texts)} \\\\"
