"""All that a run has left of a line or a cell, from its folder alone."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finefuse.errors import StoreError
from finefuse.judge.board.lines import Place
from finefuse.judge.cells import Part, find_rows, made_of
from finefuse.judge.classes import ClassScores, scores_by_task
from finefuse.predictions import FILE, Predictions
from finefuse.records import Records, log_of, read_results, traceback_of
from finefuse.types import Cell, Record

SCHEMA = 1
"""The version of what `to_json` gives."""


@dataclass(frozen=True)
class Shown:
    """A line or a cell: `rows` are its seeds in order, `parts` what the first is made of, `timed` its measurements.

    `classes` has an entry for each task, of all seeds that have predicted classes here; `unknown` says why there are
    none. `tracebacks` and `logs`, what the jobs printed, are by key, and `again` are the commands that repeat it.
    """

    rows: Sequence[Record]
    parts: Sequence[Part]
    timed: Sequence[Record]
    classes: Sequence[ClassScores] = ()
    unknown: str = ""
    tracebacks: Mapping[str, str] = field(default_factory=dict)
    logs: Mapping[str, str] = field(default_factory=dict)
    again: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Everything, with null for what is not finite."""
        parts = [
            {"role": part.role, "artifact": part.artifact, "cell": part.row["cell"] if part.row else None}
            for part in self.parts
        ]
        classes = [
            {
                "task": found.task,
                "names": list(found.names),
                "classes": found.classes.to_dict("records"),
                "taken": found.taken.to_dict("records"),
            }
            for found in self.classes
        ]
        told = {"schema": SCHEMA, "rows": list(self.rows), "made_of": parts, "timed": list(self.timed)}
        told |= {"classes": classes, "no_classes": self.unknown, "tracebacks": dict(self.tracebacks)}
        told["logs"] = dict(self.logs)
        strict: dict[str, Any] = _strict(told | {"again": list(self.again)})
        return strict


def show(folder: Path, wanted: str, narrow: Mapping[str, str | int | None]) -> Shown:
    """All about a line or a cell of a results folder, found as `find_rows` does.

    Raises:
        FinefuseError: if the folder can't be read, nothing or several lines match, or the predicted classes are
            damaged.
    """
    results = read_results(folder)
    rows = find_rows(results, wanted, narrow)
    timed = [row for row in results.rows if row["kind"] == "time" and _times(row, rows)]
    classes, unknown = _classes(folder, rows)
    failed = {row["key"]: folder / traceback_of(row["key"]) for row in rows if row.get("traceback")}
    traces = {key: _text(path) or f"({path} is not there)" for key, path in failed.items()}
    logs = {row["key"]: text for row in rows if (text := _text(folder / log_of(row["key"])))}
    made, again = made_of(rows[0], results.rows), _again(folder, rows[0])
    return Shown(rows, made, timed, classes, unknown, traces, logs, again)


def _times(timed: Record, rows: Sequence[Record]) -> bool:
    return any(Cell.of(row).has_line and Place.of(row) == Place.of(timed) for row in rows)


def _classes(folder: Path, rows: Sequence[Record]) -> tuple[list[ClassScores], str]:
    """The scores by class for each task, or why there are none."""
    ok = [row for row in rows if row["status"] == "ok"]
    if not ok:
        return [], "no run is ok"
    if not any(row.get("predicted") for row in ok):
        return [], "the rows have none: they are from a former version, of a kind without, or the task has no classes"
    found = Predictions(folder).read(ok)
    if not found:
        return [], f"{folder / FILE} has none for these rows; `finefuse run` writes them again if the store has them"
    return scores_by_task(found.values()), ""


def _text(path: Path) -> str:
    """A text that a run has left; "" where there is none."""
    try:
        return path.read_bytes().decode("utf-8", "backslashreplace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise StoreError(f"{path}: can't be read: {error.strerror or error}.") from error


def _again(folder: Path, row: Record) -> list[str]:
    """The commands that repeat a row from nothing, elsewhere, and that export what it measured."""
    asked = Records(folder).read_run()
    commands = []
    if suite := asked.get("suite"):
        doors = [f"--plugin {shlex.quote(str(door))}" for door in asked.get("plugins") or ()]
        portable = ["--portable"] if row.get("portable") else []
        device = str(row.get("device") or "cpu")
        only = f"--only {shlex.quote(_literal(_planned_label(row)))}"
        words = ["finefuse run", shlex.quote(str(suite)), only, f"--device {device}", *portable, *doors]
        commands.append(" ".join([*words, "--out again", "--store again/store"]))
    if row["status"] == "ok" and row["kind"] in ("tune", "fuse"):
        commands.append(f"finefuse export {shlex.quote(str(folder))} {shlex.quote(row['cell'])} --to model.pt2")
    return commands


def _planned_label(row: Record) -> str:
    """What the suite calls the scheme or fusion; a tuning after a fusion is named after both, and planned by that."""
    return str(row["label"]).rpartition(" after ")[2] if row.get("pool") and row["kind"] == "tune" else row["label"]


def _literal(label: str) -> str:
    """A label as a pattern that matches nothing else."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in label)


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _strict(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
