"""A step that ran out of memory, undone: what can be tried again in halves as if it had never begun."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import torch
from torch import nn


def undoing(model: nn.Module, device: torch.device) -> Callable[[], None]:
    """What puts torch's generators and a model's buffers, BatchNorm's statistics above all, back to what they are now.

    A pass that fails has drawn some numbers and renewed some statistics, as many as there was memory for.
    """
    drawn, on_gpu = torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]

    @torch.no_grad()
    def undo() -> None:
        torch.set_rng_state(drawn)
        if on_gpu is not None:
            torch.cuda.set_rng_state(on_gpu, device)
        for buffer, content in before:
            buffer.copy_(content)

    return undo


def release(error: BaseException, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Let go of all that a pass held when it failed: what its frames refer to, its gradients, and torch's own cache."""
    cause: BaseException | None = error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__context__
    optimizer.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.empty_cache()
