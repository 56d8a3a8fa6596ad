"""When memory runs out: what failed lets go of it, and the work may be tried again in smaller parts."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch

from finefuse.errors import out_of_memory


@dataclass
class Leave:
    """Whether batches may be divided; `pieces` is into how many parts the smallest of them have been so far."""

    given: bool
    pieces: int = 1


_NONE = Leave(False)
_leave: ContextVar[Leave | None] = ContextVar("leave", default=None)


@contextmanager
def leave_to_divide(given: bool) -> Iterator[Leave]:
    """For a while, what renews statistics batch by batch may take smaller batches where memory runs out, or not."""
    leave = Leave(given)
    token = _leave.set(leave)
    try:
        yield leave
    finally:
        _leave.reset(token)


def leave_given() -> Leave:
    """The leave in force; none outside a job."""
    return _leave.get() or _NONE


def divides(error: Exception, device: torch.device, parts: int) -> bool:
    """Whether work that raised this may be done again with batches in so many parts; if so, its memory is free."""
    leave = leave_given()
    if not leave.given or not out_of_memory(error):
        return False
    release(error, None, device)
    leave.pieces = max(leave.pieces, parts)
    return True


def release(error: BaseException, optimizer: torch.optim.Optimizer | None, device: torch.device) -> None:
    """Let go of all that a pass held when it failed: what its frames refer to, its gradients, and torch's own cache."""
    cause: BaseException | None = error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__context__
    if optimizer is not None:
        optimizer.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.empty_cache()
