"""Informs the observers of a run. One that raises is not called again, and what they print goes to stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from copy import deepcopy
from typing import Any

from finefuse.discovery import capabilities
from finefuse.types import Agenda, Job, Observer, Record


class Observers:
    """The observers of one run, by the names that users give them."""

    def __init__(self, observers: Mapping[str, Observer | object]) -> None:
        self._calls = {name: capabilities.observer_calls(one) for name, one in observers.items()}

    def add(self, name: str, observer: Observer | object) -> None:
        """One more, from now on."""
        self._calls[name] = capabilities.observer_calls(observer)

    def run_begins(self, plan: Agenda, waiting: int, done: int) -> None:
        """`waiting` jobs of the plan need a row, `done` have one."""
        self._tell("run_begins", plan, waiting, done)

    def job_begins(self, job: Job) -> None:
        """A worker was given the job."""
        self._tell("job_begins", job)

    def job_ends(self, job: Job, record: Record) -> None:
        """The job has its row; each observer gets its own copy."""
        self._tell("job_ends", job, record)

    def run_ends(self, records: Sequence[Record]) -> None:
        """No more jobs will run; these are the rows."""
        self._tell("run_ends", records)

    def note(self, text: str) -> None:
        """One sentence worth reading."""
        self._tell("note", text)

    def _tell(self, what: str, *about: Any) -> None:
        for name, calls in list(self._calls.items()):
            if what not in calls or name not in self._calls:
                continue
            try:
                with redirect_stdout(sys.stderr):
                    calls[what](*(deepcopy(one) if isinstance(one, dict | list) else one for one in about))
            except (Exception, SystemExit) as error:
                del self._calls[name]
                self._complain(f"the observer {name!r} failed in {what} with {type(error).__name__}: {error}")

    def _complain(self, text: str) -> None:
        """Send it to the others, or to the log if there are none."""
        sentence = f"{' '.join(text.split())}; the run continues without it"
        if any("note" in calls for calls in self._calls.values()):
            self.note(sentence)
        else:
            logging.getLogger("finefuse").error(sentence)
