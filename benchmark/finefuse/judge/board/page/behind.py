"""The records behind a page, read once: of each only what the page needs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from heapq import nsmallest
from typing import Any, Literal

from finefuse.judge.board.lines import Place
from finefuse.judge.board.memory import WHOLE
from finefuse.judge.board.page.cells import LEFT_OUT, MOST, cells
from finefuse.types import Cell, Record

KINDS: dict[str, Literal["scheme", "fusion"]] = {"tune": "scheme", "fuse": "fusion"}
Used = tuple[str, str, str, str]
"""Kind, label and name of a strategy, and its parameters in the suite as JSON."""
COSTS = ("seconds", "seconds_members", "machine", WHOLE)
RANKED = frozenset(("cell", "key", "seed", "metrics", "correct", "losses", "predicted", "examples", "n_test", *COSTS))
"""Fields that tables are ranked by and costs are made of, besides the scores."""
SCORES = ("test.", "better.")


class Behind:
    """The ok rows of each line by seed, the first record of each strategy, and the records that are shown."""

    def __init__(self, places: Mapping[Place, int], records: Iterable[Record]) -> None:
        self.rows: list[list[Record]] = [[] for _ in places]
        self.used: dict[Used, Record] = {}
        self._count = 0
        self._parameters: dict[tuple[str, str, str, str], Used] = {}
        self._shown = nsmallest(MOST, self._read(places, records), key=_failed_first)
        for rows in self.rows:
            rows.sort(key=lambda row: int(row["seed"]))

    def cells(self) -> dict[str, Any]:
        """The records that have room, by seed: those that are not ok, then the others."""
        return cells(self._shown, self._count)

    def _read(self, places: Mapping[Place, int], records: Iterable[Record]) -> Iterator[tuple[Record, int]]:
        """The records that may be shown, each with the number of its line."""
        for record in records:
            ok, has_line = record["status"] == "ok", Cell.of_line(record)
            line = places.get(Place.of(record), -1)
            if ok and has_line:
                self.rows[line].append(_ranked(record))
            self._use(record)
            if has_line or not ok or record["kind"] in ("pool", "time"):
                self._count += 1
                yield {name: value for name, value in record.items() if name not in LEFT_OUT}, line

    def _use(self, record: Record) -> None:
        if record["kind"] in KINDS and record.get("use"):
            kind, params = KINDS[record["kind"]], record.get("params") or {}
            known = kind, record["label"], record["use"], repr(params)
            if known not in self._parameters:
                self._parameters[known] = (*known[:3], json.dumps(params))
                self.used.setdefault(self._parameters[known], record)


def _failed_first(one: tuple[Record, int]) -> tuple[bool, int]:
    return one[0]["status"] == "ok", int(one[0]["seed"])


def _ranked(record: Record) -> Record:
    return {name: value for name, value in record.items() if name in RANKED or name.startswith(SCORES)}
