"""Which device a run uses and how many workers, found out without importing torch."""

from __future__ import annotations

import os
import re
from importlib import metadata
from itertools import takewhile
from pathlib import Path

from finefuse.errors import FinefuseError

NODES = Path("/dev")


def resolve_device(device: str, *, portable: bool = False) -> str:
    """Turn `auto` into `cuda` or `cpu`, and check that a CUDA device that was asked for is there.

    Portable results are those of a processor, so `auto` is `cpu` for them, and a CUDA device is refused.

    `auto` is `cuda` where the system has NVIDIA device files (`/dev/nvidia0`, ...) that `CUDA_VISIBLE_DEVICES` does not
    hide, and the installed torch is not a build for CPU. Torch is asked only about a `cuda` that this doesn't show.

    Raises:
        FinefuseError: for another word, or a device that isn't there.
    """
    if device == "auto":
        return "cuda" if visible_gpus() and not portable else "cpu"
    if device == "cpu":
        return device
    match = re.fullmatch(r"cuda(?::(\d+))?", device)
    if not match:
        raise FinefuseError(f"unknown device {device!r}; expected auto, cpu, cuda or cuda:0, cuda:1, ...")
    if portable:
        raise FinefuseError(f"--device {device}: portable results are those of a processor; use --device cpu")
    wanted, there = int(match[1] or 0), visible_gpus() or _gpus_torch_sees()
    if wanted >= there:
        found = f"only {there} CUDA device{'s' * (there > 1)}" if there else "no CUDA device"
        raise FinefuseError(f"--device {device}: this machine shows {found}; use --device cpu or --device auto")
    return device


def visible_gpus() -> int:
    """How many NVIDIA GPUs there are for this process, by the system's device files."""
    if "+cpu" in metadata.version("torch"):
        return 0
    there = len([node for node in NODES.glob("nvidia*") if re.fullmatch(r"nvidia\d+", node.name)])
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return there
    return min(there, len(list(takewhile(re.compile(r"\s*\w").match, visible.split(",")))))  # CUDA stops at "" or -1


def default_workers(device: str, threads: int) -> int:
    """One worker per GPU; on the CPU as many as the cores this process may use hold, at `threads` each."""
    if device.startswith("cuda"):
        return max(1, visible_gpus()) if device == "cuda" else 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)


def _gpus_torch_sees() -> int:
    import torch

    return torch.cuda.device_count()
