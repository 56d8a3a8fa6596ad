"""The usual loss of a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from finefuse.types import Task

if TYPE_CHECKING:
    from torch import Tensor


def usual_loss(task: Task) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy of outputs and targets; in regression the mean squared error."""
    functional = torch.nn.functional
    return functional.cross_entropy if task.kind == "classification" else functional.mse_loss
