"""How torch computes in a worker: threads, determinism, and how products are rounded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from finefuse.types import Settings

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def set_up(settings: Settings, device: str) -> None:
    """Set torch's switches for one job; all of them, whatever a job or a plugin before it left behind."""
    torch.set_num_threads(settings.threads)
    torch.backends.cudnn.deterministic = settings.deterministic
    torch.backends.cudnn.benchmark = not settings.deterministic
    torch.backends.cuda.matmul.allow_tf32 = settings.tf32
    torch.backends.cudnn.allow_tf32 = settings.tf32
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu and settings.deterministic:
        os.environ.setdefault(WORKSPACE, ":4096:8")  # read when the first product is computed
    torch.use_deterministic_algorithms(on_gpu and settings.deterministic, warn_only=True)


@contextmanager
def current(device: str) -> Iterator[None]:
    """What says just "cuda" means this device for a while."""
    with torch.cuda.device(device) if device.startswith("cuda") else nullcontext():
        yield


@contextmanager
def in_force(settings: Settings, device: str) -> Iterator[None]:
    """The switches of a job for a while; then what was set before, but for the workspace, which is read only once."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    before = cudnn.deterministic, cudnn.benchmark, matmul.allow_tf32, cudnn.allow_tf32
    try:
        set_up(settings, device)
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)
        cudnn.deterministic, cudnn.benchmark, matmul.allow_tf32, cudnn.allow_tf32 = before
