"""What is to be exported: which row, and to which file. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from finefuse.errors import FinefuseError, did_you_mean
from finefuse.judge.names import Names
from finefuse.judge.narrowing import listed, narrowed, telling_apart
from finefuse.records import read_results
from finefuse.types import Cell, Record

ENDINGS = (".pt2", ".onnx", ".safetensors")
KINDS = ("tune", "fuse")
"""Jobs that make what can be deployed."""


def find_row(folder: Path, wanted: str, narrow: Mapping[str, str | int | None]) -> tuple[Record, str]:
    """The row of this cell or label, and what was chosen where several seeds have it.

    A label means what the board shows: copies that only feed pools are named by their cell. `narrow` has the values
    that `dataset`, `backbone`, `pool`, `seed` and `round` must have; a data set or backbone may go by its plugin's
    name. Where no seed is given, it is the first that has the label.

    Raises:
        FinefuseError: if none or several match, or the row has nothing to export.
    """
    results = read_results(folder)
    rows = results.rows
    if wanted in map(str, results.missing):
        raise FinefuseError(f"{wanted} is planned and has no row yet; `finefuse run` carries on with the suite.")
    names = Names.in_rows(rows)
    lines = [row for row in rows if Cell.of(row).has_line]
    found = [row for row in rows if row["cell"] == wanted]
    found = found or [row for row in lines if row["label"] == wanted]
    found = found or [row for row in lines if names.strategy(row["label"]) == wanted]
    if not found:
        raise _unknown(folder, wanted, rows)
    for name, value in narrow.items():
        if value is not None:
            found = narrowed(wanted, found, name, value, names)
    seeds = list(dict.fromkeys(row["seed"] for row in found))
    found = [row for row in found if row["seed"] == seeds[0]]
    if len(found) > 1:
        raise _ambiguous(wanted, found)
    note = f"{found[0]['cell']}: seed {seeds[0]}, the first of {len(seeds)}; --seed takes another."
    return _exportable(found[0]), note if len(seeds) > 1 else ""


def find_task(row: Record, task: str | None, *, all_tasks: bool = False) -> str:
    """The task of a pool across data sets that a file is for; "" for a row of one task, and for all of several.

    Raises:
        FinefuseError: if the row has several tasks and neither one that it has is named nor all are asked for, or it
            has one and one is named.
    """
    tasks = row.get("tasks") or []
    if not tasks:
        if task is not None or all_tasks:
            raise FinefuseError(f"{row['cell']} is for one task; leave out {'--all-tasks' if all_tasks else '--task'}.")
        return ""
    if all_tasks and task is not None:
        raise FinefuseError("--task is for one of several tasks, and --all-tasks for all: give one of them.")
    if all_tasks:
        return ""
    if task is None:
        raise FinefuseError(
            f"{row['cell']} serves several tasks, one file for each: --task names one of {listed(tasks)}, or "
            "--all-tasks puts the outputs for all into one file."
        )
    if task not in tasks:
        hint = did_you_mean(task, tasks) or f"; there are {listed(tasks)}"
        raise FinefuseError(f"{row['cell']} has no task {task!r}{hint}")
    return task


def check_target(file: Path, *, force: bool) -> None:
    """Whether the file can be asked for.

    Raises:
        FinefuseError: for an unknown ending, a package that is missing, or a file that exists already.
    """
    if file.suffix not in ENDINGS:
        raise FinefuseError(
            f"{file}: unknown ending {file.suffix!r}; expected {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}."
        )
    lacking = [name for name in ("onnx", "onnxscript") if file.suffix == ".onnx" and find_spec(name) is None]
    if lacking:
        raise FinefuseError(f'{file}: needs {" and ".join(lacking)}: pip install "finefuse[onnx]"')
    for path in (file, card_of(file)):
        if path.is_dir():
            raise FinefuseError(f"{path}: is a folder; give a file.")
        if path.exists() and not force:
            raise FinefuseError(f"{path}: exists already; --force writes over it.")


def card_of(file: Path) -> Path:
    """The path of the model card of an exported file."""
    return file.with_name(f"{file.name}.md")


def _exportable(row: Record) -> Record:
    if row["kind"] not in KINDS:
        raise FinefuseError(f"{row['cell']} is of kind {row['kind']!r}; only 'tune' and 'fuse' rows can be exported.")
    if row["status"] != "ok":
        raise FinefuseError(f"{row['cell']} is {row['status']}: {row['reason']}")
    return row


def _unknown(folder: Path, wanted: str, rows: Sequence[Record]) -> FinefuseError:
    labels = list(dict.fromkeys(row["label"] for row in rows if Cell.of(row).has_line))
    hint = did_you_mean(wanted, [*labels, *(row["cell"] for row in rows)])
    return FinefuseError(f"{folder}: no row has the label or cell {wanted!r}{hint or f'; there are {listed(labels)}'}")


def _ambiguous(wanted: str, rows: list[Record]) -> FinefuseError:
    by, cells = telling_apart(rows) or "its cell", listed([row["cell"] for row in rows])
    return FinefuseError(f"{len(rows)} rows have the label {wanted!r}, narrow it by {by}: {cells}.")
