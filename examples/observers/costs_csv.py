"""The observer `costs-csv`: a line of a CSV file for each job, as it ends."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from finefuse import Entry, hookimpl
from finefuse.types import Agenda, Job, Observer, Record

COLUMNS = ("cell", "status", "seconds", "cpu_seconds", "peak_memory", "energy", "steps", "gradients", "machine")


@dataclass(frozen=True)
class CostsCsv:
    """What each job took, in `file`; a number that wasn't measured is left empty."""

    file: Path = Path("costs.csv")

    def run_begins(self, plan: Agenda, waiting: int, done: int) -> None:  # noqa: ARG002
        self.write(COLUMNS, "w")

    def job_ends(self, job: Job, record: Record) -> None:  # noqa: ARG002
        self.write([record.get(name) for name in COLUMNS], "a")

    def write(self, row: Sequence[object], mode: str) -> None:
        with self.file.open(mode, newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(row)


@hookimpl
def finefuse_observers() -> Iterator[Entry[Observer]]:
    yield Entry("costs-csv", CostsCsv, "what each job took, as CSV")
