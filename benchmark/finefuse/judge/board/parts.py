"""The records of a board, one data set after the other where they are too many to be held at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, overload

from finefuse.judge.board.fairness import COUNTING, PARTS, SETTINGS, counting, names_of_content, noted_parts
from finefuse.located import Stored
from finefuse.types import Cell, Record

CELL = ("kind", "status", "dataset", "backbone", "dataset_use", "backbone_use", "seed", "member", "round")
MEASURED = ("machine", "device", "examples", "n_test", "contended", "no_energy", "costs", "repeated")
NOTED = (*CELL, *MEASURED, *SETTINGS)
TOLD = ("cell", "label", "latency_of", "given", "steps")
"""Fields that notes quote: they differ from row to row."""
AUGMENT = "budget: augment"


class Part(NamedTuple):
    """Current rows, and stand-ins for planned cells without a row; `is_all` says that there is no other part."""

    rows: list[Record]
    absent: list[Record]
    is_all: bool = False


def parts(records: Iterable[Record], missing: Sequence[Cell | str]) -> Iterator[Part]:
    """All records at once, or those of one data set after the other if they are still in their file."""
    cells = [cell for cell in missing if isinstance(cell, Cell)]
    if not isinstance(records, Stored) or records.crossing or any(cell.size for cell in cells):
        yield Part(list(records), list(map(_stand_in, cells)), is_all=True)
        return
    absent: dict[str, list[Record]] = {}
    for cell in cells:
        absent.setdefault(cell.dataset, []).append(_stand_in(cell))
    for dataset in records.datasets:
        yield Part(records.of(dataset), absent.pop(dataset, []))
    yield from (Part([], own) for own in absent.values())


def _stand_in(cell: Cell) -> Record:
    """A record for a planned cell without a row."""
    return cell._asdict() | {"cell": str(cell), "status": "missing", "reason": "planned, but not run yet"}


class Again(Sequence[Record]):
    """Records that are made anew each time they are asked for, part after part."""

    def __init__(self, make: Callable[[], Iterator[Sequence[Record]]], count: int) -> None:
        self._make, self._count = make, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Record]:
        return (record for part in self._make() for record in part)

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> list[Record]: ...
    def __getitem__(self, at: int | slice) -> Record | list[Record]:
        return list(self)[at]


class Noted:
    """Of many records what the notes of a board rest on; records that are alike in it share it."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._known: dict[tuple[Any, ...], Record] = {}

    def add(self, records: Iterable[Record]) -> None:
        """Note these records, in their order."""
        for record in records:
            parts = record.get("parts") or {}
            values = [record.get(name) for name in NOTED]
            counted = record.get("flops") is not None and counting(record)
            key = (*values, str(record.get("finished") or "")[:10], *noted_parts(record), counted)
            remarks = record.get("remarks") or ()
            own = record["kind"] == "time" or record.get("given") or (record.get("steps") == 0 and AUGMENT in parts)
            if own:
                self.records.append(_noted(record, key) | _told(record))
                continue
            key = (*key, *remarks)
            known = self._known.get(key)
            if known is None:
                known = self._known[key] = _noted(record, key)
            self.records.append(known)


def _noted(record: Record, key: tuple[Any, ...]) -> Record:
    """A record of no more than is noted."""
    known = {name: value for name, value in zip(NOTED, key, strict=False) if name in record}
    kept = (*PARTS, COUNTING, *names_of_content(record))
    parts = {name: text for name, text in (record.get("parts") or {}).items() if name in kept}
    rest = {name: record[name] for name in ("remarks", "portable", "finished", "flops") if name in record}
    return known | rest | {"label": "", "pool": "", "parts": parts}


def _told(record: Record) -> Record:
    return {name: value for name, value in record.items() if name in TOLD or name.startswith("latency.")}
