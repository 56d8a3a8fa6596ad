"""Energy, where hardware counts it: of the processors by RAPL, of an NVIDIA GPU by NVML. It is never estimated."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from finefuse.types import Record

POWERCAP = Path("/sys/class/powercap")
"""Where Linux has the counters of Intel's and AMD's processors, one folder for each package."""
MOST_WATTS = 1000.0
"""No package takes more: in a block that is short enough for this, a counter began anew at most once."""
SHORTEST = 0.2
"""Seconds below which the counters, and the load of others, are too coarse."""


@dataclass(frozen=True)
class Energy:
    """Joules of the whole packages, and of the GPU of a job on one; None where not counted, and `why` says why."""

    processors: float | None = None
    gpu: float | None = None
    why: str = ""

    def plus(self, other: Energy, sign: int = 1) -> Energy:
        """Together with another block, or without one in the middle; None where that isn't counted."""
        return Energy(
            _sum(self.processors, other.processors, sign), _sum(self.gpu, other.gpu, sign), self.why or other.why
        )

    def fields(self, seconds: float, *, alone: bool) -> Record:
        """The fields of a row; null if it may have been for others, or can't be told."""
        why = "" if alone else "other work ran on the machine"
        if seconds < SHORTEST:
            why = f"it took less than {SHORTEST} s, for which counters are too coarse"
        if self.processors is None and self.gpu is None:
            why = self.why
        known = Energy(why=why) if why else self
        return {"energy.processors": known.processors, "energy.gpu": known.gpu, "no_energy": known.why}


@dataclass(frozen=True)
class Counters:
    """What the counters say now, in joules: `processors` by package, with where each begins anew; and of the GPU."""

    processors: tuple[tuple[float, float], ...] = ()
    gpu: float | None = None
    why: str = ""

    @classmethod
    def now(cls, device: torch.device, powercap: Path = POWERCAP) -> Counters:
        """Read them; `why` says which are not there."""
        found, why = _packages(powercap)
        gpu = None
        if device.type == "cuda":
            gpu = _gpu_joules(torch.cuda.get_device_properties(device).uuid)
            why = "; ".join(filter(None, [why, "" if gpu is not None else "NVML counts none of this GPU"]))
        return cls(found, gpu, why)

    def until(self, later: Counters, seconds: float) -> Energy:
        """What was spent between two readings, `seconds` apart."""
        why = self.why or later.why
        gpu = None if self.gpu is None or later.gpu is None else later.gpu - self.gpu
        if not self.processors or len(self.processors) != len(later.processors):
            return Energy(None, gpu, why)
        if seconds * MOST_WATTS > min(span for _, span in self.processors):
            return Energy(None, gpu, "it took so long that a counter may have begun anew more than once")
        pairs = zip(self.processors, later.processors, strict=True)
        return Energy(sum((after - before) % span for (before, span), (after, _) in pairs), gpu, why)


def _sum(joules: float | None, other: float | None, sign: int) -> float | None:
    return None if joules is None or other is None else max(0.0, joules + sign * other)


def _packages(powercap: Path) -> tuple[tuple[tuple[float, float], ...], str]:
    """Each package's joules and where its counter begins anew; or why there are none."""
    folders = sorted(powercap.glob("intel-rapl:*"))  # AMD's are called so too
    try:
        packages = [one for one in folders if (one / "name").read_text().startswith("package")]
        found = tuple((_joules(one / "energy_uj"), _joules(one / "max_energy_range_uj")) for one in packages)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        return (), f"the counters of the processors can't be read: {reason}"
    return found, "" if found else "the system has no counters of the processors (RAPL)"


def _joules(file: Path) -> float:
    return int(file.read_text()) / 1e6


@cache
def _nvml() -> ctypes.CDLL | None:
    """NVIDIA's library, ready for questions, if it is there."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL("libnvidia-ml.so.1")
        if library.nvmlInit_v2() == 0:
            return library
    return None


def _gpu_joules(uuid: object) -> float | None:
    """All that a GPU has taken since its driver was loaded; None where it isn't counted."""
    library, handle, millijoules = _nvml(), ctypes.c_void_p(), ctypes.c_ulonglong()
    if library is None or library.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}".encode(), ctypes.byref(handle)):
        return None
    if library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)):
        return None
    return millijoules.value / 1000
