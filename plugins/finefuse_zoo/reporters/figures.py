"""The leaderboard as figures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from finefuse.errors import StoreError
from finefuse.files import write_whole
from finefuse.types import Board
from finefuse_zoo.reporters._machines import on_several_machines

if TYPE_CHECKING:
    from finefuse_zoo.reporters._charts import Chart

COSTS = {
    "seconds": ("seconds_with_members", "seconds of training, with those of the members"),
    "processor": ("cpu_seconds", "seconds of processors"),
    "flops": ("flops", "FLOPs of one prediction"),
    "latency": ("latency.1.p50", "seconds of one prediction (p50)"),
}
"""Columns of the board, and what they are called."""
UNNAMED = re.compile(r"[^\w.+-]+")
LONGEST = 80


@dataclass(frozen=True)
class Figures:
    """`figures/`: score against cost, critical differences over data sets, and curves over rounds and sizes of pools.

    Each as SVG and PNG. Costs on the axis are `seconds` of training with the members', of the `processor`, `flops` or
    `latency` of one prediction. A data set has no such figure where they were measured on several machines.
    """

    cost: Literal["seconds", "processor", "flops", "latency"] = "seconds"

    def write(self, board: Board, folder: Path) -> list[Path]:
        """Write the files of all figures that the board has something for."""
        from finefuse_zoo.reporters._charts import images

        into = folder / "figures"
        written: list[Path] = []
        for name, chart in self.charts(board):
            stem = UNNAMED.sub("-", name).strip("-")[:LONGEST]
            svg, png = into / f"{stem}.svg", into / f"{stem}.png"
            if svg in written:
                raise StoreError(f"{svg}: two figures would have this name; give one of them another with `as`.")
            drawn, pixels = images(chart)
            try:
                into.mkdir(exist_ok=True)
                write_whole(svg, drawn)
                png.write_bytes(pixels)
            except OSError as error:
                raise StoreError(f"{into}: can't be written: {error.strerror or error}.") from error
            written += [svg, png]
        return written

    def charts(self, board: Board) -> Iterator[tuple[str, Chart]]:
        """All figures, each with the name of its files."""
        from finefuse_zoo.reporters import _charts

        lines = _charts.ranked(board.with_short_names(board.lines), board.better)
        column, axis = COSTS[self.cost]
        costed = lines[lines[column] >= 0] if column in lines else lines.iloc[:0]
        if self.cost != "flops":
            costed = costed[~board.lines["dataset"][costed.index].isin(on_several_machines(board.records))]
        for dataset, group in costed.groupby("dataset", sort=False):
            yield f"pareto {dataset}", _charts.pareto(group, column, f"{board.suite}: {dataset}", axis)
        if (chart := _charts.critical_differences(lines)) is not None:
            yield "critical differences", chart
        yield from _charts.by_round(lines)
        yield from _charts.by_size(board.with_short_names(board.curves))
