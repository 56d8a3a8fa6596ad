"""What a strategy is billed for: all that it would do alone, even where another job has done it, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from finefuse.engine.measure.cost import Stopwatch
from finefuse.engine.measure.energy import Energy
from finefuse.types import Record


@dataclass(frozen=True)
class Took:
    """What a piece of work took where it was done; `peak_memory` is by how much the process grew."""

    seconds: float
    cpu_seconds: float
    peak_memory: int | None
    processors: float | None
    no_energy: str
    contended: bool
    alone: bool

    @classmethod
    def by(cls, watch: Stopwatch) -> Took:
        """As a stopwatch measured it, on the processor."""
        energy, peak = watch.energy, watch.peak_memory
        flags = watch.contended, watch.alone
        return cls(watch.seconds, watch.cpu_seconds, peak, energy.processors, energy.why, *flags)

    @classmethod
    def read(cls, told: Record) -> Took | None:
        """From `fields`; None for anything else."""
        try:
            took = cls(**told)
            numbers = (took.seconds, took.cpu_seconds, took.peak_memory or 0, took.processors or 0)
            sound = all(math.isfinite(number) and number >= 0 for number in numbers)
        except TypeError:
            return None
        return took if sound else None

    @property
    def fields(self) -> Record:
        """As JSON has it."""
        return asdict(self)


@dataclass
class Bill:
    """What is taken off the measures of a block, and what is put on them.

    Off are the wall and processor seconds and the energy of what is no work of the strategy's, such as looks at the
    network. On is what shared work took when it was done; `shared` are the seconds of that which other jobs did.
    """

    off: float = 0.0
    off_cpu: float = 0.0
    off_energy: Energy = field(default_factory=lambda: Energy(0.0, 0.0))
    on: float = 0.0
    on_cpu: float = 0.0
    on_energy: Energy = field(default_factory=lambda: Energy(0.0, 0.0))
    shared: float = 0.0
    contended: bool = False
    alone: bool = True

    @contextmanager
    def leaving_out(self, device: str) -> Iterator[Stopwatch]:
        """A block in the middle of one that is timed."""
        watch = Stopwatch(device)
        with watch:
            yield watch
        self.off += watch.seconds
        self.off_cpu += watch.cpu_seconds
        self.off_energy = self.off_energy.plus(watch.energy)

    def put_on(self, took: Took, where: Stopwatch, *, read: bool) -> None:
        """Count work as if it had been done alone in a block `where` that is left out; `read` if another job did it."""
        self.on += took.seconds
        self.on_cpu += took.cpu_seconds
        self.on_energy = self.on_energy.plus(Energy(took.processors, None, took.no_energy))
        self.shared += took.seconds if read else 0.0
        self.contended |= took.contended
        self.alone &= took.alone
        where.grew_by(took.peak_memory)
