"""What has been measured: one JSON line per finished job, append-only and safe to kill at any time."""

from __future__ import annotations

import errno
import gc
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, get_args

from finefuse.errors import StoreError
from finefuse.files import write_whole
from finefuse.jsonl import load
from finefuse.located import Selection, Stored, lines, select
from finefuse.locks import LOCK, only_writer
from finefuse.rows import Former, contradiction, told, wrong_with
from finefuse.types import Cell, JobKind, Record

PLAN_SCHEMA = 2
"""The version of plan.json; the first had no number, and no more of a cell than its text."""
LARGE = 64 * 2**20
"""Bytes of a file whose rows are not held in memory all at once."""
_KINDS = frozenset(get_args(JobKind))
_TEXTS = ("dataset", "backbone", "label", "pool", "key")
_NUMBERS = ("seed", "member", "round", "trial")


class Records:
    """`records.jsonl` and `plan.json` of one results folder, which is made when something is first written."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.file = self.folder / "records.jsonl"
        self.plan_file = self.folder / "plan.json"

    def read(self) -> tuple[list[Record], list[str]]:
        """All sound rows, in the order they were written, and a sentence for each damaged line.

        A torn last line, which a killed run leaves, is ignored.

        Raises:
            StoreError: if the file can't be read.
        """
        rows, refused = self.numbered()
        return list(rows.values()), refused

    def numbered(self) -> tuple[dict[int, Record], list[str]]:
        """The same, with the rows by the numbers of their lines.

        Raises:
            StoreError: if the file can't be read.
        """
        former, wrong = Former(), {}
        with no_collection(), _sentence(self.file, "read"):
            read = dict(enumerate((row for _, row in lines(self.file)), 1)) if self.file.exists() else {}
        with no_collection():
            for number, row in read.items():
                if said := wrong_with(row):
                    wrong[number] = said
                else:
                    former.add(number, row)
            wrong |= {number: contradiction(read[number], metric) for number, metric in former.wrong().items()}
        refused = [self._refused(number, read[number], wrong[number]) for number in sorted(wrong)]
        return {number: row for number, row in read.items() if number not in wrong}, refused

    def located(self, keys: Mapping[Cell | str, str] | None) -> tuple[Selection, list[str]]:
        """The current rows by where they are, without holding them, and a sentence for each damaged line.

        Raises:
            StoreError: if the file can't be read.
        """
        with no_collection(), _sentence(self.file, "read"):
            found, refused = select(self.file, keys)
        return found, [self._refused(*one) for one in refused]

    def _refused(self, number: int, row: object, said: str) -> str:
        return f"{self.file}:{number}: {_named(row)}{said}"

    def is_large(self) -> bool:
        """Whether rows stay in their file until they are asked for."""
        return self.file.exists() and self.file.stat().st_size > LARGE

    def append(self, record: Record) -> None:
        """Write one row to the disk, whole or not at all.

        A torn last line is cut off first.

        Raises:
            StoreError: if it can't be written; the rows before it stay as they are.
        """
        append_line(self.file, record)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only process that writes to this folder; the system releases the lock if this process dies.

        Raises:
            StoreError: if another process holds it, or the folder can't be written to.
        """
        with ExitStack() as held:
            with _sentence(self.folder / LOCK, "written"):
                self.folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(only_writer(self.folder))
            yield

    def write_plan(self, suite: str, cells: Iterable[tuple[Cell, str]], run: Record | None = None) -> None:
        """Leave the planned cells, each with its key, in `plan.json`, in one piece; `run` is what was asked for."""
        planned = [cell.fields() | {"key": key, "cell": str(cell)} for cell, key in cells]
        with _sentence(self.plan_file, "written"):
            self.folder.mkdir(parents=True, exist_ok=True)
        plan = {"schema": PLAN_SCHEMA, "suite": suite, "run": run or {}, "cells": planned}
        write_whole(self.plan_file, json.dumps(plan, separators=(",", ":")))

    def read_plan(self) -> tuple[str, dict[Cell | str, str]] | None:
        """The suite's name and the key of every planned cell; None if nothing was planned here.

        Of a former version's plan only the text of a cell is known.

        Raises:
            StoreError: if the file is not a plan, or one of a later version.
        """
        plan = self._plan()
        if plan is None:
            return None
        suite, cells, schema = plan.get("suite"), plan.get("cells"), plan.get("schema", 1)
        if isinstance(schema, int) and schema > PLAN_SCHEMA:
            raise StoreError(f"{self.plan_file}: a plan of schema {schema}; this finefuse reads up to {PLAN_SCHEMA}.")
        if isinstance(suite, str) and isinstance(cells, list):
            if schema == 1 and all(map(_is_pair, cells)):
                return suite, dict(cells)
            if schema == PLAN_SCHEMA and all(map(_is_planned, cells)):
                return suite, {Cell.of(cell): cell["key"] for cell in cells}
        raise StoreError(f"{self.plan_file}: not a plan of finefuse; delete it and run the suite again.")

    def read_gate(self) -> Record:
        """The suite's table `[gate]` as the plan holds it; {} without one.

        Raises:
            StoreError: if the plan can't be read, or that is no table.
        """
        gate = self.read_run().get("gate", {})
        if not isinstance(gate, dict):
            raise StoreError(f"{self.plan_file}: has {told(gate)} as [gate], where a table was expected.")
        return gate

    def read_run(self) -> Record:
        """What the last run was asked for: `suite`, as it was named, and `plugins`; {} where that is not known.

        Raises:
            StoreError: if the plan can't be read.
        """
        run = (self._plan() or {}).get("run")
        return run if isinstance(run, dict) else {}

    def _plan(self) -> Record | None:
        """The content of `plan.json`, {} if it is not JSON; None if there is none."""
        with _sentence(self.plan_file, "read"):
            return (_object(self.plan_file.read_bytes()) or {}) if self.plan_file.exists() else None


@dataclass(frozen=True)
class Results:
    """The contents of a folder: the suite's name, its current rows, and the planned cells that have none.

    Of a cell that a former version planned, and of which there is no row at all, only the text is known. `refused` has
    a sentence for each damaged line that no planned cell needs. `planned` says whether there is a plan, and `gate` is
    the suite's table of that name.
    """

    suite: str
    rows: Sequence[Record]
    missing: list[Cell | str]
    refused: list[str]
    planned: bool = False
    gate: Mapping[str, Any] = field(default_factory=dict)


def read_results(folder: Path) -> Results:
    """The results in a folder.

    Current is, for every planned cell, the last row with the planned key. Where there is no plan it is the last row of
    every cell.

    Raises:
        StoreError: if the folder holds no results, they can't be read, or a damaged line may be the only row of a
            cell.
    """
    records = Records(folder)
    plan = records.read_plan()
    if records.is_large() and (plan is None or all(isinstance(cell, Cell) for cell in plan[1])):
        found = _current_of_large(records, plan)
    else:
        found = _current(records, plan, *records.read())
    refused = found.refused
    if refused and (plan is None or found.missing):
        raise StoreError(f"{_first(refused)}; `finefuse run` ignores it and runs the missing jobs again.")
    return found


def _current(
    records: Records, plan: tuple[str, dict[Cell | str, str]] | None, rows: list[Record], refused: list[str]
) -> Results:
    folder = records.folder
    if plan is None and not rows and not refused:
        raise _empty(folder)
    if plan is None:
        last = {Cell.of(row): row for row in rows}
        suite = rows[-1].get("suite") if rows else None
        return Results(suite or folder.resolve().name, list(last.values()), [], refused)
    suite, keys = plan
    if any(isinstance(cell, str) for cell in keys):
        told: dict[Cell | str, Cell] = {row["cell"]: Cell.of(row) for row in rows}
        keys = {told.get(cell, cell): key for cell, key in keys.items()}
    cells = ((Cell.of(row), row) for row in rows)
    current = {cell: row for cell, row in cells if keys.get(cell) == row["key"]}
    missing = [cell for cell in keys if cell not in current]
    return Results(
        suite, [current[cell] for cell in keys if cell in current], missing, refused, True, records.read_gate()
    )


def _empty(folder: Path) -> StoreError:
    return StoreError(f"{folder}: no results here; expected records.jsonl, as `finefuse run` writes it.")


def _current_of_large(records: Records, plan: tuple[str, dict[Cell | str, str]] | None) -> Results:
    """The same where the rows stay in their file."""
    keys = None if plan is None else plan[1]
    found, refused = records.located(keys)
    if plan is None and not found.starts and not refused:
        raise _empty(records.folder)
    if plan is None or keys is None:
        suite = found.suite or records.folder.resolve().name
        return Results(suite, Stored(records.file, found.starts, crossing=found.crossing), [], refused)
    planned = [cell for cell in keys if isinstance(cell, Cell)]
    starts = {cell: found.starts[cell] for cell in planned if cell in found.starts}
    missing: list[Cell | str] = [cell for cell in planned if cell not in starts]
    rows = Stored(records.file, starts, crossing=found.crossing)
    return Results(plan[0], rows, missing, refused, True, records.read_gate())


def _named(row: object) -> str:
    """The cell of a damaged row, if it has one."""
    return f"{row['cell']} " if isinstance(row, dict) and isinstance(row.get("cell"), str) else ""


def passed_over(refused: list[str]) -> Iterator[str]:
    """One note about the damaged lines, if there are any."""
    if refused:
        yield f"{_first(refused)}: it counts for nothing, and a job that needs its row runs again."


def _first(refused: list[str]) -> str:
    """The first sentence, and how many more there are."""
    return f"{refused[0]} (other such lines: {len(refused) - 1})" if len(refused) > 1 else refused[0]


def why(row: Record) -> str:
    """Why a row is not ok: its reason, with the type of the error before it, once; "" if nothing is known."""
    error, reason = str(row.get("error") or ""), str(row.get("reason") or "")
    return reason if reason.startswith(error) else ": ".join(filter(None, (error, reason)))


def traceback_of(key: str) -> Path:
    """Where the traceback of a failed job is in a results folder: by its key, whatever its row says."""
    return Path("tracebacks", f"{Path(key).name}.txt")


def log_of(key: str) -> Path:
    """Where in a results folder what a job printed is, if it printed something."""
    return Path("logs", f"{Path(key).name}.txt")


def append_line(path: Path, value: Record) -> None:
    """Write one line of JSON to the disk, whole or not at all; a torn last line is cut off first.

    Raises:
        StoreError: if it can't be written; the lines before it stay as they are.
    """
    line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
    with _sentence(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            _write(file.fileno(), _mend(file) + line)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system complains of while a file is read into one sentence."""
    with _sentence(path, "read"):
        yield


@contextmanager
def _sentence(path: Path, done: str) -> Iterator[None]:
    """Turn what the system complains of into one sentence that names the file."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: can't be {done}: {error.strerror or error}.") from error


@contextmanager
def no_collection() -> Iterator[None]:
    """Nothing that is read is garbage; the collector would look at all of it again and again. Also as a decorator."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _object(text: bytes) -> dict[str, Any] | None:
    """The JSON object in a text; None if it is anything else."""
    value = load(text)
    return value if isinstance(value, dict) else None


def _is_planned(value: object) -> bool:
    """Whether this is a planned cell with its key."""
    if not isinstance(value, dict) or value.get("kind") not in _KINDS:
        return False
    texts, numbers = map(value.get, _TEXTS), map(value.get, _NUMBERS)
    return all(type(text) is str for text in texts) and all(type(number) is int for number in numbers)


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(item, str) for item in value)


def _mend(file: FileIO) -> bytes:
    """Cut a torn last line off; give back the newline that a whole one may lack."""
    if not file.seek(0, os.SEEK_END):
        return b""
    file.seek(-1, os.SEEK_END)
    if file.read(1) == b"\n":
        return b""
    file.seek(0)
    data = file.readall()
    start = data.rfind(b"\n") + 1
    if _object(data[start:]) is not None:
        return b"\n"
    file.truncate(start)
    return b""


def _write(file: int, data: bytes) -> None:
    """Append and wait for the disk; a part that was written is taken back."""
    size = os.fstat(file).st_size
    try:
        if os.write(file, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file)
    except OSError:
        with suppress(OSError):  # what can't be taken back is a torn last line, which the next append cuts off
            os.ftruncate(file, size)
        raise
