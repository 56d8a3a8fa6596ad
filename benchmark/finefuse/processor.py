"""What of the machine decides the bits: the instruction sets that torch, oneDNN and MKL use, and models of GPUs.

Imports no torch. Two processors of one name may differ in these, and virtual machines hide some. Caches and cores don't
count: where they changed a result, nothing here would know. `studies/portable` has the measurements that this module
rests on.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from finefuse.errors import FinefuseError

CPUINFO = Path("/proc/cpuinfo")
GPUS = Path("/proc/driver/nvidia/gpus")
PINNED = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2"}
"""The environment of a portable job; each library reads its variable once, when it first computes."""
OTHERS = (
    "DNNL_MAX_CPU_ISA",
    *(f"{prefix}_{name}" for prefix in ("ONEDNN", "DNNL") for name in ("CPU_ISA_HINTS", "DEFAULT_FPMATH_MODE")),
    "MKL_ENABLE_INSTRUCTIONS",
)
"""Variables that may change results too: part of the keys as they are, where they are set."""
LADDER = ("none", "SSE4", "AVX", "AVX2", "AVX-512")
"""Sets of instructions, each with those before it."""
_NEEDS = {
    "AVX-512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"},
    "AVX2": {"avx2", "fma"},
    "AVX": {"avx"},
    "SSE4": {"sse4_1"},
}
_OF_ONEDNN = {"sse41": "SSE4", "avx": "AVX", "avx2": "AVX2", "avx512": "AVX-512", "avx10": "AVX-512"}
_OF_MKL = {"SSE2": "none", "SSE4": "SSE4", "AVX": "AVX", "AVX2": "AVX2"}
_VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}
_HALVES = {
    "bf16": ("avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "avx_vnni", "avx_ne_convert"),
    "fp16": ("f16c", "avx512_vnni", "avx512_fp16", "amx_tile", "amx_fp16", "avx_vnni", "avx_ne_convert"),
}
"""What bfloat16 and float16 are computed with; float32 has the same bits with and without."""


@dataclass(frozen=True)
class Processor:
    """The name is for people. `flags` are Linux's names of instructions, and empty where the system doesn't tell."""

    name: str
    vendor: str = ""
    flags: frozenset[str] = frozenset()
    x86: bool = True

    @property
    def level(self) -> str:
        """The highest of `LADDER` that it has."""
        return next((level for level, needs in _NEEDS.items() if needs <= self.flags), "none")


@cache
def processor() -> Processor:
    """The processor of this machine."""
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")
    if CPUINFO.exists():
        fields: dict[str, str] = {}
        for line in CPUINFO.read_text().splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
        flags = fields.get("flags") or fields.get("Features") or ""
        vendor = fields.get("vendor_id") or " ".join(filter(None, map(fields.get, ("CPU implementer", "CPU part"))))
        known = fields.get("model name") or platform.processor() or platform.machine()
        return Processor(known, _VENDORS.get(vendor, vendor), frozenset(flags.split()), x86)
    if sys.platform == "darwin":
        return Processor(_sysctl("machdep.cpu.brand_string") or platform.machine(), x86=x86)
    return Processor(platform.processor() or platform.machine(), x86=x86)


def gpu_models() -> list[str]:
    """The models of the machine's NVIDIA GPUs, as the driver names them; none if it doesn't tell.

    Of a machine with several models all are named: which of them a job gets isn't known when keys are made.
    """
    told = [file.read_text() for file in GPUS.glob("*/information")]
    return sorted(set(re.findall(r"^Model:\s*(.+?)\s*$", "\n".join(told), flags=re.MULTILINE)))


def instruction_sets(of: Processor, environ: Mapping[str, str], precision: str = "fp32") -> dict[str, str]:
    """The parts of a key: what each library will use in an environment, as far as float32 differs by it.

    Where the system doesn't tell, and where no level is known (ARM), the part is all that is known instead.
    """
    parts = {name: environ[name] for name in OTHERS if environ.get(name)}
    if not of.x86 or not of.flags:
        known = " ".join([of.vendor, *sorted(of.flags)]) if of.flags else f"unknown, {of.name}"
        return parts | _set(environ) | {"instruction set": known}
    if precision != "fp32":
        used = _HALVES[precision]
        parts[f"instructions for {precision}"] = " ".join(flag for flag in used if flag in of.flags)
        parts |= _set(environ)
    return parts | {
        "instruction set of torch": _torch(of, environ.get("ATEN_CPU_CAPABILITY", "")),
        "instruction set of oneDNN": _onednn(
            of, environ.get("ONEDNN_MAX_CPU_ISA", environ.get("DNNL_MAX_CPU_ISA", ""))
        ),
        "instruction set of MKL": _mkl(of, environ.get("MKL_CBWR", "")),
    }


def _set(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables by which the libraries can be limited, where no level stands for them."""
    return {name: environ[name] for name in PINNED if environ.get(name)}


def _torch(of: Processor, asked: str) -> str:
    """Torch does what it is told if the word is one of these in lower case, and else takes no notice."""
    own = of.level if of.level in ("AVX2", "AVX-512") else "none"
    return {"avx512": "AVX-512", "avx2": "AVX2", "default": "none"}.get(asked, own)


def _onednn(of: Processor, asked: str) -> str:
    """OneDNN takes the lower of what it may and what there is; an unknown word means no limit."""
    word = asked.lower().partition("_")[0]
    return min(of.level, _OF_ONEDNN.get(word, of.level), key=LADDER.index)


def _mkl(of: Processor, asked: str) -> str:
    """MKL has paths of its own for Intel's processors; on others a limit only means the reproducible one of its paths.

    All but "compatible", which every processor can take and which is slow, have other bits on Intel's than elsewhere.
    """
    word, _, more = asked.upper().partition(",")
    if word == "COMPATIBLE":
        return "compatible"
    limit = _OF_MKL.get(word.partition("_")[0], "AVX-512") if of.vendor == "Intel" else "AVX2"
    kept = min(of.level, limit, key=LADDER.index)
    mode = "" if word in ("", "OFF", "BRANCH_OFF") else ", reproducible"
    return f"{kept} on {of.vendor or 'a processor of no known vendor'}{mode}{' and strict' if more == 'STRICT' else ''}"


def refuse_unpinnable(of: Processor) -> None:
    """Only processors with AVX2 can give the bits that are the same on all of them.

    Raises:
        FinefuseError: one sentence, for another processor, or one of which this isn't known.
    """
    if not of.x86 or LADDER.index(of.level) < LADDER.index("AVX2"):
        knows = f"has {of.level}" if of.x86 and of.flags else "is not known to have it"
        raise FinefuseError(f"portable results need an x86-64 processor with AVX2, and this one ({of.name}) {knows}")


def refuse_unpinned() -> None:
    """A portable job's process must have had the variables from its start: later, a library may have read its own.

    Raises:
        FinefuseError: one sentence, if it had other values, or none.
    """
    start = _at_start()
    if lacking := [f"{name}={value}" for name, value in PINNED.items() if start.get(name) != value]:
        raise FinefuseError(
            f"portable results need a process that was started with {' '.join(lacking)}; the executor local starts "
            "such processes, and for others these variables must be set before Python starts"
        )


def refuse_changed() -> None:
    """Whether this process may compute: keys rest on variables that its libraries may have read before a change.

    Raises:
        FinefuseError: one sentence that names the variables, if they are no longer what they were at its start.
    """
    start = _at_start()
    if changed := [name for name in (*PINNED, *OTHERS) if start.get(name) != os.environ.get(name)]:
        raise FinefuseError(
            f"{' and '.join(changed)} changed since this process started, so it isn't known what torch uses in it; "
            "take the executor local, or set them before Python starts"
        )


def _at_start() -> Mapping[str, str]:
    """The environment with which this process was started; of a forked one, that of the process it comes from."""
    try:
        return psutil.Process().environ()
    except psutil.Error:
        return os.environ


def _sysctl(name: str) -> str:
    try:
        return subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
