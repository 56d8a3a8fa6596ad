"""Whether what went wrong in a tuning is that it diverged."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from finefuse.errors import FinefuseError

NUMERICAL = (OverflowError, torch.linalg.LinAlgError, np.linalg.LinAlgError)
"""What libraries raise of numbers that are too large, or not finite."""


def has_diverged(error: Exception, model: nn.Module) -> bool:
    """Whether it is an error of numbers, or comes of weights that are not finite, and doesn't say so itself."""
    if isinstance(error, (FloatingPointError, FinefuseError, torch.OutOfMemoryError)):
        return False
    return isinstance(error, NUMERICAL) or not all(bool(p.isfinite().all()) for p in model.parameters())
