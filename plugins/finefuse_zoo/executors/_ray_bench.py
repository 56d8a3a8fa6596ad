"""What Ray places on a machine: one worker of `local`, and a process that passes jobs on to it."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Mapping
from dataclasses import replace

import psutil

from finefuse.types import Crew
from finefuse_zoo.executors._worker import Worker

SHARE = 0.8
"""The share of a machine's memory that jobs may take together where the suite sets no limit."""


class Bench:
    """An actor: it carries out one job at a time. When it is killed or loses its driver, so is all that it started."""

    def __init__(self, crew: bytes) -> None:
        self._crew: Crew = pickle.loads(crew)
        if not self._crew.memory:
            at_a_time = max(1, (psutil.cpu_count() or 1) // self._crew.threads)
            self._crew = replace(self._crew, memory=int(SHARE * psutil.virtual_memory().total / at_a_time))
        self._worker = Worker(self._crew, preload=True, stopping=threading.Event())

    def kind(self) -> Mapping[str, str]:
        """What of this machine and its programs decides the bits."""
        return dict(self._crew.kind()) if self._crew.kind else {}

    def call(self, parcel: bytes, seconds: float) -> bytes:
        """The record of a job, or what it raised, pickled."""
        try:
            return pickle.dumps((self._worker.call(parcel, seconds), None))
        except Exception as error:
            return pickle.dumps((None, error))
