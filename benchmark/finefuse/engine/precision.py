"""Precision and memory format."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def mixed_precision(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Autocast to bfloat16 where the suite says "bf16", and to float16 where it says "fp16"."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=HALVES[precision])


def as_memory_format(x: Tensor, channels_last: bool) -> Tensor:
    """Images (N, C, H, W) in channels-last order if requested, and on a GPU else in torch's usual one."""
    if x.ndim != 4 or not (channels_last or x.is_cuda):
        return x
    return x.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
