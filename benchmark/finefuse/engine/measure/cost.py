"""What things cost: timers that wait for the device, latency, and the machine all this was measured on."""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import psutil
import torch
from torch import nn

from finefuse.declare.keys import digest
from finefuse.engine.measure.energy import Counters, Energy
from finefuse.engine.measure.load import Load, processors
from finefuse.processor import instruction_sets, processor


def synchronise(device: torch.device | str) -> None:
    """Wait until the device has finished all its work."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


@cache
def warm_up(device: str) -> int:
    """Do what torch does only once per process, such as importing its compiler, before any clock runs.

    Returns the bytes that libraries of a GPU keep from then on, which count as part of every job.
    """
    before = _allocated(torch.device(device))
    weight = torch.zeros(2, 2, device=device, requires_grad=True)
    for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        optimizer = kind([weight], lr=0.0)
        nn.functional.cross_entropy(weight @ weight, weight.detach().argmax(-1)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.linalg.inv(torch.linalg.cholesky(torch.eye(2, device=device)))
    del weight, optimizer
    synchronise(device)
    return _allocated(torch.device(device)) - before


class Stopwatch:
    """Times a block: wall and processor seconds, whether others took part of the machine, energy, and peak memory.

    On a GPU it is the peak of what torch has allocated; on the CPU, under Linux, by how much the process grew, without
    the pages of files that are mapped at its end: those of libraries come in when code is used for the first time. A
    file that is let go before the end counts, and one that is mapped after the peak hides as much of it. A block that
    another stopwatch times in the middle of it has a peak of its own, which is not part of this one's.
    """

    _running: ClassVar[list[Stopwatch]] = []

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self.seconds = self.cpu_seconds = 0.0
        self.contended = self.alone = False
        self.energy = Energy()
        self.peak_memory: int | None = None
        self._memory: int | None = None

    def __enter__(self) -> Stopwatch:
        synchronise(self._device)
        if self._running:
            self._running[-1]._note_peak()
        else:
            _give_back()  # growth must not hide in it
        self._running.append(self)
        self._memory = forget_peak(self._device)
        self._counters = Counters.now(self._device)
        self._start = Load.now()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        synchronise(self._device)
        now = Load.now()
        self.seconds, self.cpu_seconds = now.clock - self._start.clock, now.own - self._start.own
        self.contended = self._start.contended(now, processors())
        self.alone = self._start.alone(now, processors())
        self.energy = self._counters.until(Counters.now(self._device), self.seconds)
        self._note_peak()
        self._running.remove(self)
        if self._running:
            forget_peak(self._device)

    def grew_by(self, peak: int | None) -> None:
        """Have the stopwatch around this block, which is over, count a peak that was measured in another one as its."""
        if not self._running or peak is None or self._memory is None:
            return
        outer = self._running[-1]
        if outer._memory is not None:
            outer.peak_memory = max(outer.peak_memory or 0, self._memory - outer._memory + peak)

    def _note_peak(self) -> None:
        """Take the peak so far into account."""
        peak = _above(_peak(self._device), self._device, self._memory)
        self.peak_memory = peak if self.peak_memory is None or peak is None else max(self.peak_memory, peak)


@dataclass
class _Job:
    """Memory of the job that this process carries out: bytes when it began, and the most in what has been forgotten."""

    before: int | None = None
    most: int = 0
    left_over: int = 0
    """Bytes on the GPU that earlier jobs of this process have left there."""


_job = _Job()


def begin_job(device: torch.device | str) -> None:
    """From here on `peak_memory` counts, and a process holds no freed memory that growth could hide in."""
    _give_back()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
    _job.left_over = max(0, _allocated(torch.device(device)) - warm_up(str(device)))
    _job.before = forget_peak(device)
    _job.most = 0


def peak_memory(device: torch.device | str) -> int | None:
    """The peak since the job began, for one that has come to its end before its stopwatch tells."""
    _note_most(torch.device(device))
    return _above(_job.most, torch.device(device), _job.before)


def _give_back() -> None:
    """Let the C library return free memory to the system, where it can."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def forget_peak(device: torch.device | str) -> int | None:
    """Reset the peak of memory; on the processor, return the size of this process now, None if it isn't measured."""
    _note_most(torch.device(device))
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return None
    try:
        Path("/proc/self/clear_refs").write_text("5")  # to the kernel
        return _memory("VmRSS")
    except OSError:
        return None


def _note_most(device: torch.device) -> None:
    _job.most = max(_job.most, _peak(device))


def _above(peak: int, device: torch.device, before: int | None) -> int | None:
    """Bytes: what a job's torch had allocated on a GPU, or by how much this process outgrew what it was before."""
    if device.type == "cuda":
        return max(0, peak - _job.left_over)
    return None if before is None else max(0, peak - before)


def _peak(device: torch.device) -> int:
    """The highest count since the last reset, 0 where it isn't measured."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _memory("VmHWM") if Path("/proc/self/status").exists() else 0


def _allocated(device: torch.device) -> int:
    """Bytes that torch has allocated on a GPU now; 0 for the processor."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _memory(field: str) -> int:
    """Bytes of resident memory without pages of files that are mapped now: now ("VmRSS"), or at its peak ("VmHWM")."""
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return (int(told[field].split()[0]) - int(told["RssFile"].split()[0])) * 1024


def parameter_count(model: nn.Module) -> int:
    """Number of parameters, shared ones once."""
    return sum(p.numel() for p in model.parameters())


def size_of(model: nn.Module) -> int:
    """Bytes of all that a file of the model holds: parameters and buffers, shared ones once."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def machine(device: str = "") -> dict[str, str]:
    """Facts about this machine that affect times; none that identify it or its owner.

    Of its GPUs the one of a `device` such as "cuda:1" is named first, or without one torch's current one.
    """
    if not torch.cuda.is_available():
        return _machine(None)
    index = torch.device(device).index if device.startswith("cuda") else None
    return _machine(torch.cuda.current_device() if index is None else index)


@cache
def _machine(gpu: int | None) -> dict[str, str]:
    """The same where this GPU is in use, which is named first if the others are of other models."""
    facts = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor().name,
        **({"vector instructions": processor().level} if processor().x86 and processor().flags else {}),
        **instruction_sets(processor(), os.environ),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 1024**3:.0f} GiB",
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
    }
    if gpu is not None:
        models = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
        alike = len(set(models)) == 1
        named = f"{len(models)} x {models[gpu]}" if alike else f"{models[gpu]} (of {', '.join(models)})"
        facts["gpu"] = f"{named}, CUDA {torch.version.cuda}"
    return facts


def machine_id(device: str = "") -> str:
    """The machine in a few words, and a digest of all its facts: seconds of rows that agree in it can be compared."""
    facts = machine(device)
    used = facts.get("instruction set of torch", "")
    words = [facts["processor"], used, f"{facts['cores']} cores", facts.get("gpu", ""), f"torch {facts['torch']}"]
    return f"{', '.join(word for word in words if word)} [{digest(facts)[:8]}]"
