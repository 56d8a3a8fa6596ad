"""Leaderboards as reporters get them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from finefuse.types.running import Record

if TYPE_CHECKING:
    import pandas as pd


class Heading(NamedTuple):
    """A heading of a board, of a level from 1."""

    text: str
    level: int


class Bullets(NamedTuple):
    """A list of a board."""

    items: tuple[str, ...]


TEXT_COLUMNS = (
    "rank",
    "95 %",
    "strategy",
    "pool",
    "level",
    "needs",
    "followed by",
    "BatchNorm",
    "chosen on val",
    "runs",
    "verdict",
    "cell",
    "reason",
    "from b to a",
    "dataset",
    "backbone",
    "metric",
    "budget",
    "best on val",
    "front",
    "commit",
    "date",
    "line",
    "measure",
    "what else differs",
    "version",
)
"""Columns of a board's tables that are text; all others are numbers, and aligned to the right."""


def line_name(strategy: str, pool: str = "", backbone: str = "") -> str:
    """What a line of a board is called, as options take it: `full`, `soup of POOL`, `soup of POOL on BACKBONE`."""
    return f"{strategy}{f' of {pool}' if pool else ''}{f' on {backbone}' if backbone else ''}"


class First(NamedTuple):
    """The first line of a table, by names for people.

    `score` is the mean of `metric`, and NaN without one; `half` is half of its interval, infinite if it is unknown.
    `tied` of the `others` share its rank, and `ok` of `planned` runs ended well. `contended` says that other work ran
    while its `seconds` were taken.
    """

    dataset: str
    backbone: str
    name: str
    metric: str
    score: float
    half: float
    seconds: float
    tied: int
    others: int
    ok: int
    planned: int
    contended: bool = False


class Board(Protocol):
    """What a reporter gets."""

    @property
    def suite(self) -> str:
        """The suite's name."""

    @property
    def lines(self) -> pd.DataFrame:
        """One row per data set, backbone and strategy; `docs/records.md` lists the columns."""

    @property
    def notes(self) -> Sequence[str]:
        """Coverage, how to read the numbers, machines, and other notes."""

    @property
    def better(self) -> Mapping[str, str]:
        """Whether "higher" or "lower" is better, by metric."""

    @property
    def pools(self) -> pd.DataFrame:
        """One row per pool that is fused: its best single member on val, mean member, oracle, and diversity."""

    @property
    def resolutions(self) -> Mapping[tuple[str, str], NamedTuple]:
        """By data set and backbone, what the table can tell apart."""

    def scores(self) -> pd.DataFrame:
        """The columns of `lines` that a repeated run must reproduce, bit by bit."""

    def costs(self) -> pd.DataFrame:
        """The columns of `lines` that were measured with a clock."""

    @property
    def records(self) -> Sequence[Record]:
        """What it was made of, with the status "missing" for a planned cell that has no row.

        Empty for a board that was read back without its records.
        """

    @property
    def curves(self) -> pd.DataFrame:
        """One row per pool, strategy and number of tasks or members, where parts of pools are fused."""

    def with_short_names(self, table: pd.DataFrame) -> pd.DataFrame:
        """`lines` or `curves` with names for people: no more of each name than tells it from the others."""

    def firsts(self) -> Sequence[First]:
        """The first line of each table that has a score."""

    def blocks(self) -> Iterator[Heading | Bullets | pd.DataFrame]:
        """The board as people read it, in order; tables hold text."""

    def to_markdown(self) -> str:
        """The whole leaderboard as Markdown tables."""

    def document(self) -> dict[str, Any]:
        """All that a page needs to show the board and to rank anew what it shows; `docs/page.md` lists its parts."""


class Reporter(Protocol):
    """A frozen dataclass that writes a leaderboard in one format."""

    def write(self, board: Board, folder: Path) -> Sequence[Path]:
        """Write into `folder` and name the files."""
