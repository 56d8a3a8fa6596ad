"""How torch computes in a worker: threads, determinism, and how products are rounded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from finefuse.engine.work.rounding import put_back, rounding, set_rounding
from finefuse.errors import FinefuseError
from finefuse.types import Settings

FILL = False
"""Whether deterministic mode fills memory that nothing was written to: a kernel for every tensor that is made, which a
result differs by only if it rests on such memory."""
_DETERMINISTIC: Any = torch.utils.deterministic
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def set_up(settings: Settings, device: str) -> None:
    """Set torch's switches for one job; all of them, whatever a job or a plugin before it left behind."""
    torch.set_num_threads(settings.threads)
    torch.backends.cudnn.deterministic = settings.deterministic
    torch.backends.cudnn.benchmark = not settings.deterministic
    set_rounding(tf32=settings.tf32)
    _DETERMINISTIC.fill_uninitialized_memory = FILL
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu and settings.deterministic:
        os.environ.setdefault(WORKSPACE, ":4096:8")  # read when the first product is computed
    torch.use_deterministic_algorithms(on_gpu and settings.deterministic, warn_only=True)


def refuse_emulated(settings: Settings, device: str) -> None:
    """Refuse bfloat16 on a GPU that can't compute in it; torch would emulate it there, slowly and without a word.

    Raises:
        FinefuseError: in one sentence.
    """
    emulated = settings.precision == "bf16" and device.startswith("cuda")
    if emulated and not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name(device)
        raise FinefuseError(f'precision = "bf16": the GPU {name} has no bfloat16; use precision = "fp16" or "fp32"')


@contextmanager
def current(device: str) -> Iterator[None]:
    """What says just "cuda" means this device for a while."""
    with torch.cuda.device(device) if device.startswith("cuda") else nullcontext():
        yield


@contextmanager
def in_force(settings: Settings, device: str) -> Iterator[None]:
    """The switches of a job for a while; then what was set before, but for the workspace, which is read only once."""
    cudnn = torch.backends.cudnn
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    before = cudnn.deterministic, cudnn.benchmark, _DETERMINISTIC.fill_uninitialized_memory
    rounded = rounding()
    try:
        set_up(settings, device)
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)
        cudnn.deterministic, cudnn.benchmark, _DETERMINISTIC.fill_uninitialized_memory = before
        put_back(rounded)
