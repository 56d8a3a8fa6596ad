"""The scores of a leaderboard as the frame that TabArena's evaluation reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finefuse.files import write_whole
from finefuse.types import Board, Cell, Record, line_name
from finefuse_zoo.reporters._cells import comma_separated
from finefuse_zoo.reporters._machines import on_several_machines

COLUMNS = ["method", "task", "seed", "metric_error", "time_train_s", "time_infer_s"]


@dataclass(frozen=True)
class TabArena:
    """`tabarena.csv`: one row per method, data set and seed, as `bencheval` reads them; lower errors are better.

    A method is a strategy with its pool and backbone. An error is the ranking metric, or 1 minus it where higher is
    better; training has the members' seconds; inference is of the whole test set, in the largest batch that was timed,
    on the first seed's model. A column of seconds is left out if some are not known, as those of networks that were
    given, or are of several machines: bencheval takes no gaps. Pools across data sets are left out, since they have a
    task of their own.
    """

    def write(self, board: Board, folder: Path) -> list[Path]:
        """Write the one file; a board without records has no rows."""
        import pandas as pd

        path = folder / "tabarena.csv"
        frame = pd.DataFrame(_rows(board.records), columns=COLUMNS)
        frame = frame.dropna(subset=["metric_error"]).dropna(axis=1)
        if on_several_machines(board.records):
            frame = frame.drop(columns=COLUMNS[4:], errors="ignore")
        write_whole(path, comma_separated(frame), errors="backslashreplace")
        return [path]


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in ("dataset", "backbone", "label", "pool", "round"))


def _rows(records: Sequence[Record]) -> Iterator[list[Any]]:
    timed = {_place(row): _seconds_for_one(row) for row in records if row["kind"] == "time" and row["status"] == "ok"}
    for row in records:
        if row["status"] != "ok" or not Cell.of(row).has_line or row.get("tasks"):
            continue
        metric = row["metrics"][0]
        score = row[f"test.{metric}"]
        error = math.nan if score is None else score if row[f"better.{metric}"] == "lower" else 1 - score
        infer = timed.get(_place(row), math.nan) * (row.get("n_test") or math.nan)
        yield [_method(row), row["dataset"], row["seed"], error, _training(row), infer]


def _training(row: Record) -> float:
    """Seconds with the members'; NaN where networks were given."""
    members = row.get("seconds_members") if row["pool"] else 0.0
    return math.nan if row.get("given") or members is None else (row.get("seconds") or math.nan) + members


def _method(row: Record) -> str:
    round_ = f" round {row['round'] + 1}" if row.get("round") else ""
    return line_name(f"{row['label']}{round_}", row["pool"], row["backbone"])


def _seconds_for_one(row: Record) -> float:
    """The median latency of the largest batch, by example."""
    batches = [int(name.split(".")[1]) for name in row if name.startswith("latency.") and name.endswith(".p50")]
    if not batches:
        return math.nan
    taken = row[f"latency.{max(batches)}.p50"]
    return math.nan if taken is None else float(taken) / max(batches)
