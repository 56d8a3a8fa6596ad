"""What the jobs that run at the same time share: devices and memory."""

from __future__ import annotations

from pathlib import Path

import psutil

from finefuse.device import all_gpus
from finefuse.types import Limits

CGROUP = Path("/sys/fs/cgroup/memory.max")
SHARE = 0.8
"""The share of the memory that all jobs together may take if the suite sets no limit."""


def memory_limit(limits: Limits, workers: int, *, elsewhere: bool = False) -> int:
    """Bytes that one job may take: the suite's limit, or a worker's share of 80 % of what this process may use.

    Of machines elsewhere this one can't tell: without a limit of the suite it is 0.
    """
    if limits.memory is not None:
        return int(limits.memory * 1024**3)
    if elsewhere:
        return 0
    allowed = CGROUP.read_text().strip() if CGROUP.exists() else ""
    total = psutil.virtual_memory().total
    return int(SHARE * min(total, int(allowed) if allowed.isdigit() else total) / workers)


def places(device: str, workers: int) -> list[str]:
    """The device of each slot in which a job can run; if "cuda" means several devices, they alternate."""
    devices = [f"cuda:{n}" for n in range(all_gpus())] if device == "cuda" else []
    return [devices[i % len(devices)] if devices else device for i in range(workers)]
