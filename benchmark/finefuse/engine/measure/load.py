"""Whether other work used the machine while something was timed: measured, not inferred."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

OWN_SHARE = 0.9
"""What is timed is contended if it had less than this share of the processor time it was ready for."""
OTHERS = 0.1
"""And if others kept more than this share of all processors busy, whose memory and caches are shared."""
SHORTEST = 0.2
"""Seconds below which the ticks of the system's own count of busy processors are too coarse."""
IDLE = ("idle", "iowait", "guest", "guest_nice")
"""Fields of that count which are not work, or are part of another field."""


@dataclass(frozen=True)
class Load:
    """Seconds until now: of the clock, of processors for this process, of its waiting for one, of all processors."""

    clock: float
    own: float
    waited: float | None
    busy: float

    @classmethod
    def now(cls) -> Load:
        """What the system says."""
        times = psutil.cpu_times()._asdict()
        busy = sum(seconds for name, seconds in times.items() if name not in IDLE)
        return cls(time.perf_counter(), time.process_time(), _waited(), busy)

    def contended(self, later: Load, processors: int) -> bool:
        """Whether others took part of the machine between two moments."""
        clock, own = later.clock - self.clock, later.own - self.own
        if self.waited is None or later.waited is None:
            waited = max(0.0, clock - own)  # where it isn't counted: as of one thread that never sleeps
        else:
            waited = max(0.0, later.waited - self.waited)
        others = later.busy - self.busy - own
        beside = clock > SHORTEST and others > OTHERS * processors * clock
        return beside or waited > (1 - OWN_SHARE) * max(clock, own + waited)

    def alone(self, later: Load, processors: int) -> bool:
        """Whether others did so little between two moments that what the machine took was for this process."""
        others = later.busy - self.busy - (later.own - self.own)
        return not self.contended(later, processors) and others <= OTHERS * max(later.own - self.own, SHORTEST)


def processors() -> int:
    """How many the system counts."""
    return psutil.cpu_count() or 1


def _waited() -> float | None:
    """Seconds that the threads of this process were ready to run and did not; None where it isn't measured."""
    if sys.platform != "linux":
        return None
    total = 0.0
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ends meanwhile
            fields = (task / "schedstat").read_text().split()
            total += int(fields[1]) / 1e9
    return total
