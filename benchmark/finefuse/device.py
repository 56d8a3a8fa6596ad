"""Which device a run uses and how many workers, found out without importing torch."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from finefuse.errors import FinefuseError

NODES = Path("/dev")
DRIVER = Path("/proc/driver/nvidia/gpus")


def resolve_device(device: str, *, portable: bool = False) -> str:
    """Turn `auto` into `cuda` or `cpu`, and check that a CUDA device that was asked for is there.

    Portable results are those of a processor, so `auto` is `cpu` for them, and a CUDA device is refused.

    `auto` is `cuda` where `visible_gpus` finds any. Torch is asked about a `cuda` that this doesn't show.

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
    wanted, there = int(match[1] or 0), all_gpus()
    if wanted >= there:
        found = f"only {there} CUDA device{'s' * (there > 1)}" if there else "no CUDA device"
        raise FinefuseError(f"--device {device}: this machine shows {found}; use --device cpu or --device auto")
    return device


def visible_gpus() -> int:
    """How many GPUs there are for this process and the torch that is installed, found without importing torch.

    They are those that have device files (`/dev/nvidia0`, ...) and that `CUDA_VISIBLE_DEVICES` doesn't hide. Under WSL
    and on AMD's GPUs the files only say that there may be some, so torch, which takes seconds to import, is asked.
    """
    build = _built_for()
    if (build == "hip" and (NODES / "kfd").exists()) or (build == "cuda" and (NODES / "dxg").exists()):
        return _gpus_torch_sees()
    if build != "cuda":
        return 0
    there = len([node for node in NODES.glob("nvidia*") if re.fullmatch(r"nvidia\d+", node.name)])
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return there if listed is None else len(listed_gpus(listed, there, _ids()))


def all_gpus() -> int:
    """The same for a `cuda` that was asked for: where there are no device files torch is asked as well."""
    return visible_gpus() or _gpus_torch_sees()


def listed_gpus(listed: str, there: int, ids: Sequence[str]) -> list[int | str]:
    """Which of so many GPUs a value of `CUDA_VISIBLE_DEVICES` names, read as CUDA reads it.

    Entries are numbers, beginnings of the GPUs' `ids`, or parts of a GPU ("MIG-..."), all of one kind. The first entry
    that names none, such as `void`, `NoDevFiles`, -1 or a number too high, ends the list. One that is named twice makes
    it empty, and of several parts of GPUs a process gets one.
    """
    found: list[int | str] = []
    for entry in map(str.strip, listed.split(",")):
        one = _named(entry, there, ids)
        if one is None or (found and type(one) is not type(found[0])):
            break
        if one in found:
            return []
        found.append(one)
    return found[:1] if listed.strip().startswith("MIG-") else found[:there]


def _named(entry: str, there: int, ids: Sequence[str]) -> int | str | None:
    if number := re.match(r"\+?\d+", entry):
        return int(number[0]) if int(number[0]) < there else None
    if entry.startswith("GPU-") and ids:
        fitting = [one for one in ids if one.startswith(entry)]
        return fitting[0] if len(fitting) == 1 else None
    return entry if entry.startswith(("GPU-", "MIG-")) else None


def default_workers(device: str, threads: int) -> int:
    """One worker per GPU; on the CPU as many as the cores this process may use hold, at `threads` each."""
    if device.startswith("cuda"):
        return max(1, all_gpus()) if device == "cuda" else 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)


@cache
def _built_for() -> str:
    """What the installed torch was built for, "cuda", "hip" (AMD's GPUs) or "", by its own `torch/version.py`."""
    try:
        version = Path(str(metadata.distribution("torch").locate_file("torch/version.py")))
        text = version.read_text(encoding="utf-8")
    except (metadata.PackageNotFoundError, OSError):
        return ""
    return next((kind for kind in ("hip", "cuda") if re.search(rf"^{kind}\b[^=\n]*=\s*['\"]", text, re.MULTILINE)), "")


def _ids() -> list[str]:
    """The ids of the NVIDIA GPUs, in no order; none where the driver doesn't tell."""
    told = [file.read_text() for file in DRIVER.glob("*/information")]
    return re.findall(r"^GPU UUID:\s*(\S+)", "\n".join(told), flags=re.MULTILINE)


def _gpus_torch_sees() -> int:
    import torch

    return torch.cuda.device_count()
