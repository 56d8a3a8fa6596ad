"""The observer `bar`: a progress bar of rich, with the job that began last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from finefuse import Entry, hookimpl
from finefuse.types import Agenda, Job, Observer, Record

if TYPE_CHECKING:
    from rich.progress import Progress


@dataclass(frozen=True)
class Bar:
    """A bar of rows on stderr; the run's own progress is turned off with `--quiet`."""

    @cached_property
    def progress(self) -> Progress:
        from rich.console import Console
        from rich.progress import Progress

        return Progress(console=Console(stderr=True), transient=True)

    def run_begins(self, plan: Agenda, waiting: int, done: int) -> None:
        self.progress.add_task(plan.name, total=waiting + done, completed=done)
        self.progress.start()

    def job_begins(self, job: Job) -> None:
        self.progress.update(self.progress.task_ids[0], description=job.cell)

    def job_ends(self, job: Job, record: Record) -> None:  # noqa: ARG002
        self.progress.advance(self.progress.task_ids[0])

    def run_ends(self, records: Sequence[Record]) -> None:  # noqa: ARG002
        self.progress.stop()


@hookimpl
def finefuse_observers() -> Iterator[Entry[Observer]]:
    yield Entry("bar", Bar, "a progress bar of rich")
