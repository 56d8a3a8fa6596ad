"""Records of several machines in one results folder, and what must not be mixed."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from finefuse.errors import StoreError
from finefuse.files import write_whole
from finefuse.judge.board.fairness import MEASURED, TIMED, cost_version, costed, protocol_of
from finefuse.predictions import FILE, Predictions
from finefuse.records import Records, log_of, read_results, traceback_of
from finefuse.rows import told
from finefuse.types import Cell, Record

CIRCUMSTANCES = frozenset(
    {*MEASURED, "costs", "machine", "device", "finished", "suite", "traceback", "reason", "error", "no_energy"}
)
"""Fields that may differ between two rows of one key: what was measured with a clock, where, and when."""
VERSION = "core"
"""The part of a key that is the version of finefuse's results."""
LISTED = 3


@dataclass(frozen=True)
class Placed:
    """A current row, and the file and line that it was read from."""

    row: Record
    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Merged:
    """The rows by cell, the planned cells with their keys, notes on what differs, and what the first was asked for."""

    suite: str
    rows: Mapping[Cell, Placed]
    keys: Mapping[Cell, str]
    notes: tuple[str, ...]
    run: Record = field(default_factory=dict)

    @property
    def counts(self) -> Counter[Path]:
        """How many rows are from each folder."""
        return Counter(placed.file.parent for placed in self.rows.values())


def merge(folders: Sequence[Path]) -> Merged:
    """Join the current rows of several results folders of one suite.

    A cell that several have keeps the row that is ok, and of several ok rows, which then have the same results, the
    first.

    Raises:
        StoreError: one sentence with files and lines, for a folder given twice, damaged lines, different suites,
            versions of results or protocols of costs, and rows of one cell that contradict each other or have
            different keys.
    """
    _refuse_twice(folders)
    suites, keys, rows = {}, dict[Cell, str](), dict[Cell, Placed]()
    first: dict[str, Placed] = {}
    for folder in folders:
        suites[folder], planned, current = _read(folder, first)
        for cell, placed in current.items():
            rows[cell] = _better(rows[cell], placed) if cell in rows else placed
        keys = planned | keys
    if len(set(suites.values())) > 1:
        names = ", ".join(f"{folder} of {suite!r}" for folder, suite in suites.items())
        raise StoreError(f"only records of one suite are merged: {names}.")
    _refuse_mixed(rows.values())
    keys |= {cell: placed.row["key"] for cell, placed in rows.items()}
    asked = Records(folders[0]).read_run()
    return Merged(next(iter(suites.values())), rows, keys, tuple(_notes(rows.values())), asked)


def _refuse_twice(folders: Sequence[Path]) -> None:
    known: dict[Path, Path] = {}
    for folder in folders:
        one = known.setdefault(folder.resolve(), folder)
        if one is not folder:
            also = "" if str(one) == str(folder) else f", also as {one}"
            raise StoreError(f"{folder}: is given twice{also}; only different folders can be merged.")


def _read(folder: Path, first: dict[str, Placed]) -> tuple[str, dict[Cell, str], dict[Cell, Placed]]:
    """The suite of a folder, the keys of its planned cells, and its current rows; `first` learns of rows by key."""
    records = Records(folder)
    results = read_results(folder)
    numbered, refused = records.numbered()
    if refused:
        raise StoreError(f"{refused[0]}; mend or remove the line before merging.")
    for number, row in numbered.items():
        if row["status"] == "ok":
            placed = Placed(row, records.file, number)
            _refuse_contradiction(first.setdefault(row["key"], placed), placed)
    lines = {(Cell.of(row), row["key"]): number for number, row in numbered.items()}
    current = {(cell := Cell.of(row)): Placed(row, records.file, lines[cell, row["key"]]) for row in results.rows}
    plan = records.read_plan()
    planned = {cell: key for cell, key in (plan[1] if plan else {}).items() if isinstance(cell, Cell)}
    return results.suite, planned, current


def _better(one: Placed, other: Placed) -> Placed:
    """Which of two rows of one cell is kept."""
    fine = [placed for placed in (one, other) if placed.row["status"] == "ok"]
    if len(fine) < 2:
        return fine[0] if fine else one
    if one.row["key"] != other.row["key"]:
        ours, theirs = (placed.row.get("parts") or {} for placed in (one, other))
        unlike = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
        why = ", ".join(f"{name} {told(ours.get(name))} and {told(theirs.get(name))}" for name in unlike[:LISTED])
        raise StoreError(
            f"{one} and {other}: both have {one.row['cell']}, under different keys{f' ({why})' if why else ''}; "
            "remove one of the two lines."
        )
    return one


def _refuse_contradiction(one: Placed, other: Placed) -> None:
    if one is not other and (differing := different_fields(one.row, other.row)):
        field = differing[0]
        raise StoreError(
            f"{one} and {other}: rows of one key ({one.row['cell']}) contradict each other in {field}: "
            f"{told(one.row[field])} and {told(other.row[field])}."
        )


def different_fields(one: Record, other: Record) -> list[str]:
    """The fields of results in which two rows of one key differ, by their bits."""
    names = [name for name in {**one, **other} if name not in CIRCUMSTANCES and not name.startswith(TIMED)]
    same = {name for name in names if json.dumps(one.get(name)) == json.dumps(other.get(name))}
    return [name for name in names if name not in same and name in one and name in other]


def _refuse_mixed(rows: Iterable[Placed]) -> None:
    """Refuse rows that can't be in one table.

    Raises:
        StoreError: with a file and line of both kinds.
    """
    versions: dict[str, Placed] = {}
    protocols: dict[str, dict[int, Placed]] = {"costs": {}, "latency": {}}
    for placed in rows:
        parts = placed.row.get("parts") or {}
        if VERSION in parts:
            versions.setdefault(parts[VERSION], placed)
        if costed(placed.row):
            protocols[protocol_of(placed.row)].setdefault(cost_version(placed.row), placed)
    _refuse_several("version of results", versions)
    for name, found in protocols.items():
        _refuse_several(f"version of the protocol of {name}", found)


def _refuse_several(what: str, found: Mapping[str, Placed] | Mapping[int, Placed]) -> None:
    if len(found) > 1:
        where = " and ".join(f"{version} in {placed}" for version, placed in list(found.items())[:2])
        raise StoreError(f"rows of more than one {what} can't be merged: {where}; run one of the folders again.")


def _notes(rows: Iterable[Placed]) -> Iterator[str]:
    """What differs and may stand in one table, marked by the board too."""
    ok = [placed.row for placed in rows if placed.row["status"] == "ok"]
    machines = Counter(str(row["machine"]) for row in ok if row.get("machine"))
    if len(machines) > 1:
        yield f"several machines, whose seconds can't be compared: {_listed(machines)}"
    torches = Counter(str((row.get("parts") or {}).get("torch")) for row in ok if row.get("parts"))
    if len(torches) > 1:
        yield f"several versions of torch, whose bits may differ: {_listed(torches)}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count} rows)" for name, count in counts.items())


def write(merged: Merged, into: Path) -> list[Path]:
    """Write the records, the plan, predicted classes and tracebacks into a folder that holds no results.

    Raises:
        StoreError: if it holds some, or can't be written.
    """
    records = Records(into)
    if records.file.exists() or records.plan_file.exists():
        raise StoreError(f"{into}: holds results already; give a new folder.")
    try:
        into.mkdir(parents=True, exist_ok=True)
        with records.lock():
            lines = (json.dumps(placed.row, separators=(",", ":")) for placed in merged.rows.values())
            write_whole(records.file, "".join(f"{line}\n" for line in lines))
            records.write_plan(merged.suite, merged.keys.items(), merged.run)
            folders = list(merged.counts)
            written = [records.file, records.plan_file, *_copy_predictions(folders, into)]
            return [*written, *_copy_texts(merged.rows.values(), into)]
    except OSError as error:
        raise StoreError(f"{into}: can't be written: {error.strerror or error}.") from error


def _copy_predictions(folders: Iterable[Path], into: Path) -> Iterator[Path]:
    """Predicted classes of all folders, each line once."""
    lines = dict.fromkeys(line for folder in folders for line in Predictions(folder).lines())
    if lines:
        write_whole(into / FILE, "".join(line.decode("utf-8", "backslashreplace") for line in lines))
        yield into / FILE


def _copy_texts(rows: Iterable[Placed], into: Path) -> Iterator[Path]:
    """Tracebacks, and what jobs printed."""
    for placed in rows:
        key, folder = placed.row["key"], placed.file.parent
        for text in (*([traceback_of(key)] if placed.row.get("traceback") else []), log_of(key)):
            source, target = folder / text, into / text
            if source.is_file() and source.resolve().is_relative_to(folder.resolve()):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
                yield target
