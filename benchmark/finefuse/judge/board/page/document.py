"""The whole document of a page."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, Protocol

import pandas as pd

from finefuse.discovery.described import Described
from finefuse.errors import FinefuseError, PluginError
from finefuse.judge.board.lines import Place
from finefuse.judge.board.page.behind import KINDS, Behind, Used
from finefuse.judge.board.page.classes import Answering, classes
from finefuse.judge.board.page.columns import columns, number
from finefuse.judge.board.page.tables import tables
from finefuse.judge.board.pareto import MEASURED, ends
from finefuse.judge.names import Names
from finefuse.judge.threads import one_thread
from finefuse.types import Board, Record
from finefuse.version import __version__

SCHEMA = 1
LATENCY = re.compile(r"^latency\.(\d+)\.p50$", re.MULTILINE)
Describe = Callable[[Literal["scheme", "fusion"], str], Described]
"""What is known of a strategy."""


def nothing_known(kind: str, name: str) -> Described:
    """Where no plugins were opened.

    Raises:
        PluginError: always.
    """
    raise PluginError(f"{kind} {name!r} was not looked up")


class Whole(Board, Protocol):
    """What a document is made of: a leaderboard, with what reporters don't get."""

    @property
    def names(self) -> Names:
        """What things are called."""

    @property
    def describe(self) -> Describe:
        """What is known of strategies."""

    @property
    def answers(self) -> Answering:
        """The predicted classes of rows."""


@one_thread()
def make_document(board: Whole) -> dict[str, Any]:
    """The parts that docs/page.md lists."""
    lines, records = board.lines, board.records
    names = zip(*(lines[name] for name in ("dataset", "backbone", "label", "pool", "round")), strict=True)
    places = {Place(*name): at for at, name in enumerate(names)}
    behind = Behind(places, records)
    rows = behind.rows
    groups: dict[tuple[str, str], list[int]] = {}
    for place, at in places.items():
        groups.setdefault(place[:2], []).append(at)
    return {
        "schema": SCHEMA,
        "finefuse": __version__,
        "suite": board.suite,
        "notes": list(board.notes),
        "names": _shortened(lines, board.names),
        "lines": {
            "count": len(lines),
            "labels": lines["label"].tolist(),
            "rounds": lines["round"].tolist(),
            "metrics": [next(iter(metrics), "") for metrics in lines["metrics"]],
            "ok": lines["ok"].tolist(),
            "ranks": [[_whole(rank), _whole(end)] for rank, end in lines[["rank", "rank.lowest"]].values],
            "tasks": [
                list(names) if isinstance(names, tuple) else [] for names in lines.get("tasks", [()] * len(lines))
            ],
        },
        "columns": [_with_ends(column, lines, rows) for column in columns(lines, board.better, board.names)],
        "tables": list(tables(rows, groups)),
        "sizes": [_point(point) for point in board.curves.to_dict("records")],
        "strategies": list(_strategies(behind.used, board.describe)),
        "cells": behind.cells(),
        "classes": classes(rows, groups.values(), board.answers),
    }


def _shortened(lines: pd.DataFrame, names: Names) -> dict[str, str]:
    """Short names by those in full, where these differ."""
    short = {str(name): names.thing(str(name)) for column in ("dataset", "backbone") for name in lines[column].unique()}
    for strategy, label in zip(lines["strategy"], lines["label"], strict=True):
        short[strategy] = names.strategy(label) + strategy.removeprefix(label)
    return {name: told for name, told in short.items() if name != told}


def _with_ends(column: dict[str, Any], lines: pd.DataFrame, rows: Sequence[Sequence[Record]]) -> dict[str, Any]:
    """A column, with from where to where each cost may be if it is one that fronts are of, and can be compared."""
    smallest = min((name for name in LATENCY.findall("\n".join(map(str, lines)))), key=int, default="")
    known = {"seconds_with_members": "training", f"latency.{smallest}.p50": "latency", "memory_with_members": "memory"}
    known |= {"flops": "flops", "bytes": "bytes"}
    if column["id"] not in known:
        return column
    if known[column["id"]] in MEASURED and len({row.get("machine") for own in rows for row in own}) > 1:
        return column | {"ends": [None] * len(rows)}
    found = (ends(known[column["id"]], line, own) for line, own in zip(lines.to_dict("records"), rows, strict=True))
    return column | {"ends": [None if math.isnan(mean) else [number(low), number(high)] for mean, low, high in found]}


def _point(point: Mapping[Any, Any]) -> dict[str, Any]:
    """A point of a curve as JSON."""
    return {str(name): number(value) if name in ("mean", "half") else value for name, value in point.items()}


def _whole(value: Any) -> int | None:
    return None if pd.isna(value) else int(value)


def _strategies(used: Mapping[Used, Record], describe: Describe) -> Iterator[dict[str, Any]]:
    """Each label with the plugin behind it, its parameters in the suite, and what is known of the plugin."""
    for (kind, label, use, _), record in sorted(used.items(), key=lambda item: item[0]):
        told = {"kind": kind, "label": label, "use": use, "params": record.get("params") or {}}
        try:
            known = describe(KINDS[record["kind"]], use)._asdict()
        except FinefuseError as error:
            yield told | {"trouble": str(error)}
        else:
            yield told | known | {"parameters": [asdict(parameter) for parameter in known["parameters"]]}
