"""A board for a terminal: no line is wider, and a table that would be is drawn in parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from io import StringIO
from typing import TYPE_CHECKING

import pandas as pd

from finefuse.judge.board import present
from finefuse.text import plain
from finefuse.types import TEXT_COLUMNS, Bullets, Heading

if TYPE_CHECKING:
    from rich.console import Console

NAMES = ("rank", "95 %", "backbone", "strategy", "pool")
"""Columns at the left that say what a line is."""
AGAIN = NAMES[2:]
"""Those that are repeated in every part of a table."""
GAP = 2
NARROWEST, WIDEST = 20, 40
"""Columns that a terminal has at least, and those that text in a table takes at most."""


class Readable(ABC):
    """What people read: as Markdown, which a notebook shows, and in a terminal."""

    @abstractmethod
    def blocks(self) -> Iterable[present.Block]:
        """Headings, tables and lists, in order, for whoever draws them."""

    def to_markdown(self) -> str:
        """All of it as Markdown: headings, pipe tables and lists."""
        return present.render(self.blocks(), "markdown")

    def to_text(self, width: int = 120) -> str:
        """The same for a terminal of so many columns."""
        return as_text(self.blocks(), width)

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def as_text(blocks: Iterable[present.Block], width: int) -> str:
    """Headings, lists and tables in lines of at most `width` columns; letters that take two are counted so."""
    from rich.console import Console

    width = max(width, NARROWEST)
    console = Console(
        file=StringIO(), width=width, color_system=None, force_terminal=False, markup=False, highlight=False
    )
    return "\n\n".join(part for block in blocks for part in _drawn(block, console))


def _drawn(block: present.Block, console: Console) -> Iterator[str]:
    if isinstance(block, Heading):
        yield "\n".join(_wrapped(f"{'#' * block.level} {plain(block.text)}", console, 0))
    elif isinstance(block, Bullets):
        lines = (line for item in block.items for line in _wrapped(f"- {plain(item)}", console, 2))
        yield "\n".join(lines)
    else:
        yield from (_table(part, console) for part in _parts(block.map(plain).rename(columns=plain), console.width))


def _wrapped(text: str, console: Console, indent: int) -> Iterator[str]:
    """Lines of a paragraph, all but the first indented."""
    from rich.text import Text

    for number, line in enumerate(Text(text, overflow="fold").wrap(console, console.width - indent)):
        yield f"{' ' * indent * bool(number)}{line.plain.rstrip()}"


def _parts(table: pd.DataFrame, width: int) -> Iterator[pd.DataFrame]:
    """The table, or its columns shared out, each part with the names of the lines."""
    names = [name for name in table if name in NAMES]
    begun, free = names, width - _sum(table[names])
    held: list[str] = []
    for name in [str(name) for name in table if name not in NAMES]:
        needed = GAP + _width(table[name])
        if held and needed > free:
            yield table[[*begun, *held]]
            begun, held = [name for name in names if name in AGAIN], []
            free = width - _sum(table[begun])
        held.append(name)
        free -= needed
    yield table[[*begun, *held]]


def _sum(table: pd.DataFrame) -> int:
    return sum(_width(table[name]) + GAP for name in table) - GAP


def _width(column: pd.Series[str]) -> int:
    """How wide a column is drawn: its heading may be broken between words, and so may long text."""
    from rich.cells import cell_len

    heading = max((cell_len(word) for word in str(column.name).split()), default=0)
    return max(heading, min(max(map(cell_len, column), default=0), WIDEST))


def _table(table: pd.DataFrame, console: Console) -> str:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="", padding=(0, GAP - 1, 0, 0))
    for name in table:
        side = "left" if name in TEXT_COLUMNS else "right"
        heading = Text(str(name), overflow="fold")
        drawn.add_column(heading, justify=side, overflow="fold", width=min(_width(table[name]), console.width))  # type: ignore[arg-type]
    for row in table.itertuples(index=False):
        drawn.add_row(*(Text(value, overflow="fold") for value in row))
    with console.capture() as found:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in found.get().rstrip("\n").split("\n"))
