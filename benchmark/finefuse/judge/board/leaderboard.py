"""The leaderboard: per data set and backbone, one line per strategy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import pandas as pd

from finefuse.judge.board import pareto, present
from finefuse.judge.board.budgets import COLUMNS as BUDGETS
from finefuse.judge.board.curves import COLUMNS, curve_tables
from finefuse.judge.board.data_notes import data_notes
from finefuse.judge.board.fairness import fairness_notes
from finefuse.judge.board.firsts import MANY, first_lines, overview
from finefuse.judge.board.lines import MOMENTS
from finefuse.judge.board.making import make_tables
from finefuse.judge.board.page.classes import Answering, no_answers
from finefuse.judge.board.page.document import Describe, make_document, nothing_known
from finefuse.judge.board.reading import reading_notes
from finefuse.judge.board.tasks import aggregate_note, task_table
from finefuse.judge.board.terminal import Readable
from finefuse.judge.frame import table
from finefuse.judge.names import Names
from finefuse.judge.resolution import Resolution
from finefuse.judge.threads import one_thread
from finefuse.records import no_collection
from finefuse.types import Bullets, Cell, First, Heading, Record

NAMES = ["dataset", "backbone", "strategy", "pool"]
ROUNDS = ["label", "round", "rounds"]
ACCESS = ["level", "needs"]
RANKS = ["rank", "tied"]
UNCERTAINTY = ["rank.lowest", "interval"]
RUNS = ["ok", "planned", "status"]
SIZES = ["trainable", "parameters", "flops"]
SEARCH = ["trials", "edge"]
GAIN = ["gain", "gain.half"]
FRONTS = [f"front.{name}" for name in pareto.COSTS]
ENERGY = ["energy.processors", "energy.gpu"]
COSTS = [
    "seconds",
    "cpu_seconds",
    "seconds_with_members",
    "steps",
    "gradients",
    *ENERGY,
    "memory",
    "memory_with_members",
    "bytes",
    "contended",
]
KNOWN = [*NAMES, *ROUNDS, *ACCESS, *RANKS, *UNCERTAINTY, "metrics", *RUNS, "reason", *SIZES, *SEARCH, *GAIN, *COSTS]
KNOWN += FRONTS
"""Columns of every board, in their order."""


@dataclass(frozen=True)
class Leaderboard(Readable):
    """`lines` has one row per data set, backbone and strategy, ranked; `docs/records.md` lists its columns.

    `better` says of each metric which direction is better. `pools` has one row per pool that is fused: its best single
    member on val, mean member and oracle, and how much the members differ. `resolutions` says by data set and backbone
    what the table can tell apart. `curves` has one row per pool, strategy and size, where parts of pools are fused.
    `budgets` has what each budget buys, in multiples of what a probe costs. `records` are what it was made of, planned
    cells without a row among them; `describe` says what is known of a strategy, and `answers` which classes rows
    predicted. `full_names` shows all parameters
    in tables for people, not only those that tell two things apart. A notebook shows the board as tables.
    """

    suite: str
    lines: pd.DataFrame
    notes: tuple[str, ...] = ()
    better: Mapping[str, str] = field(default_factory=dict)
    pools: pd.DataFrame = field(default_factory=pd.DataFrame)
    resolutions: Mapping[tuple[str, str], Resolution] = field(default_factory=dict)
    curves: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(COLUMNS)))
    records: Sequence[Record] = field(default=(), repr=False)
    full_names: bool = False
    describe: Describe = field(default=nothing_known, repr=False)
    answers: Answering = field(default=no_answers, repr=False)
    budgets: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(BUDGETS)))

    def scores(self) -> pd.DataFrame:
        """Only what a repeated run must reproduce, bit by bit: no seconds, no latency, no machine."""
        figures = [name for prefix in ("test.", "also.", "source.") for name in self._starting(prefix)]
        figures += [*self._moments(), *self._starting("figure.")]
        figures += [name for one in ("followed_by", "statistics", "chosen", "task.") for name in self._starting(one)]
        shown = [*NAMES, *ACCESS, *RANKS, *figures, *GAIN, *SEARCH, *RUNS, *SIZES]
        scores = self.lines[shown].copy()
        scores.insert(len(NAMES), "metric", [next(iter(metrics), "") for metrics in self.lines["metrics"]])
        return scores

    def costs(self) -> pd.DataFrame:
        """What was measured with a clock, in seconds."""
        return self.lines[[*NAMES, *COSTS, *self._starting("origin"), *self._starting("latency.")]]

    def firsts(self, each: int = 1) -> tuple[First, ...]:
        """The first lines, `each` so many, of each table that has a score, with short names."""
        return tuple(first_lines(self.with_short_names(self.lines), each))

    def document(self) -> dict[str, Any]:
        """All that a page needs to show the board and to rank anew what it shows, as strict JSON; see docs/page.md."""
        return make_document(self)

    def _repr_html_(self) -> str:
        return present.render(self.blocks(), "html")

    @cached_property
    def names(self) -> Names:
        """What data sets, backbones and strategies are called in tables for people."""
        if self.full_names:
            return Names()
        things = (name for column in ("dataset", "backbone") for name in self.lines[column].unique())
        return Names.of(things, self.lines["label"].unique())

    def with_short_names(self, table: pd.DataFrame) -> pd.DataFrame:
        """`lines` or `curves` with the names that are shown in tables for people."""
        names = self.names
        if "label" in table:
            table = present.renamed(table, names)
        else:
            table = table.assign(strategy=table["strategy"].map(names.strategy))
        return table.assign(dataset=table["dataset"].map(names.thing), backbone=table["backbone"].map(names.thing))

    def blocks(self) -> Iterator[present.Block]:
        """Headings, tables and lists of the whole board, in order, for whoever draws them."""
        names = self.names
        yield Heading(self.suite, 1)
        tables = self.lines.groupby(["dataset", "backbone"], sort=False)
        if tables.ngroups > MANY:
            yield from overview(self.firsts())
        for (dataset, backbone), lines in tables:
            yield Heading(f"{names.thing(str(dataset))} · {names.thing(str(backbone))}", 2)
            ours = _of_group(self.pools, str(dataset), str(backbone))
            yield from self._group(present.renamed(lines, names), ours, (str(dataset), str(backbone)), names)
        told = names.in_full()
        yield Bullets((*self.notes, *([f"Names in full: {'; '.join(told)}."] if told else [])))

    def _starting(self, prefix: str) -> list[str]:
        return [name for name in map(str, self.lines) if name.startswith(prefix)]

    def _moments(self) -> list[str]:
        return [name for moment in MOMENTS for name in self._starting(f"{moment}.")]

    def _group(
        self, lines: pd.DataFrame, pools: pd.DataFrame, at: tuple[str, str], names: Names
    ) -> Iterator[present.Block]:
        """The tables and lists of one data set and backbone."""
        yield present.score_table(lines, self.better)
        if found := self.resolutions.get(at):
            yield Bullets((present.resolved(found),))
        if source := present.forgotten(lines, self.better):
            yield Bullets(tuple(source))
        if len(pools) and pools["ok"].any():
            yield present.pool_table(pools)
        if (by_task := task_table(lines, pools)) is not None:
            yield by_task.rename(columns=names.thing)
            yield Bullets((aggregate_note(lines),))
        if rounds := present.by_round(lines):
            yield Bullets(tuple(rounds))
        for told, curve in curve_tables(self.curves, *at, self.better):
            yield curve.assign(strategy=curve["strategy"].map(names.strategy))
            yield Bullets((told,))
        if reported := present.figures(lines):
            yield Bullets((f"Figures reported, means over seeds: {'; '.join(reported)}",))
        if why := present.reasons(lines, pools):
            yield Bullets(tuple(why))
        if (lines["ok"] > 0).any():
            yield present.cost_table(lines)
        if len(bought := _of_group(self.budgets, *at)):
            yield present.budget_table(present.renamed(bought, names), self.better)
        if steps := present.efforts(lines):
            yield Bullets((f"Optimizer steps, and gradients if not as many: {', '.join(steps)}",))


def _of_group(rows: pd.DataFrame, dataset: str, backbone: str) -> pd.DataFrame:
    """The rows of a table that are of one data set and backbone."""
    return rows[(rows["dataset"] == dataset) & (rows["backbone"] == backbone)] if len(rows) else rows


@one_thread()
@no_collection()
def make_leaderboard(
    suite: str,
    records: Iterable[Record],
    missing: Sequence[Cell | str] = (),
    refused: Sequence[str] = (),
    describe: Describe = nothing_known,
    unit: str = "",
) -> Leaderboard:
    """The leaderboard of current records, one per cell, and the planned cells that have none.

    A cell of which only the text is known is counted and named, and has no line. `refused` are sentences about damaged
    lines that no cell needs. `describe` says what is known of a strategy, and `unit` is the scheme whose cost is the
    unit of budgets; "" for no budgets.

    Raises:
        StoreError: if a record can't be what a run wrote.
    """
    (lines, better, resolutions, bounds, bought, curves), noted, priced = make_tables(records, missing, unit)
    metrics = [f"test.{metric}.{part}" for metric in better for part in ("mean", "half")]
    metrics += [
        name
        for moment, metric in product(MOMENTS, better)
        if any(not math.isnan(line.get(name := f"{moment}.{metric}.mean", math.nan)) for line in lines)
    ]
    names = {name for line in lines for name in line}
    extras = sorted(name for name in names if name.startswith(("also.", "figure.", "source.", "task.")))
    some = ["tasks", "statistics", "aggregate", "tasks.half"] if any(line["tasks"] for line in lines) else []
    some += [name for name in ("followed_by", "chosen", "origin") if any(line[name] for line in lines)]
    columns = [*KNOWN, *metrics, *some, *extras, *_latency(names)]
    frame = table({name: [line.get(name, math.nan) for line in lines] for name in columns})
    said = (*_absent(missing), *_refused(refused), *data_notes(noted), *fairness_notes(noted, frame))
    budgets = table({name: [one[name] for one in bought] for name in BUDGETS})
    notes = (_coverage(noted, missing), *said, *reading_notes(frame, noted, budgets))
    pools = table({name: [line.get(name, math.nan) for line in bounds] for line in bounds for name in line})
    frame = frame.astype({"rank": "Int64", "rank.lowest": "Int64"})
    return Leaderboard(
        suite, frame, notes, better, pools, resolutions, curves, priced, describe=describe, budgets=budgets
    )


def _latency(names: Iterable[str]) -> list[str]:
    """Columns of latency by batch size."""
    return sorted((n for n in names if n.startswith("latency.")), key=lambda name: (int(name.split(".")[1]), name))


def _coverage(records: Sequence[Record], missing: Sequence[Cell | str]) -> str:
    counts = Counter(record["status"] for record in records) + Counter({"without a row": len(missing)})
    planned, ok = counts.total(), counts.pop("ok", 0)
    rest = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
    return f"This board rests on {ok} of {planned} planned cells{f' ({rest})' if rest else ''}."


def _absent(missing: Sequence[Cell | str], most: int = 5) -> Iterator[str]:
    if missing:
        more = f" and {len(missing) - most} more" if len(missing) > most else ""
        yield f"Planned cells without a row: {', '.join(map(str, missing[:most]))}{more}."


def _refused(refused: Sequence[str], most: int = 5) -> Iterator[str]:
    if refused:
        more = f"; and {len(refused) - most} more" if len(refused) > most else ""
        yield f"Lines of the records that are damaged and were ignored: {'; '.join(refused[:most])}{more}."
