"""Whether what went wrong in a tuning is that it diverged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from finefuse.errors import FinefuseError, one_line

NUMERICAL = (OverflowError, torch.linalg.LinAlgError, np.linalg.LinAlgError)  # type: ignore[attr-defined]
"""What libraries raise of numbers that are too large, or not finite."""


@contextmanager
def divergence_noticed(model: nn.Module) -> Iterator[None]:
    """Errors of numbers, and any that is raised when weights are not finite, as a FloatingPointError."""
    try:
        yield
    except (FloatingPointError, FinefuseError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if isinstance(error, NUMERICAL) or not all(bool(p.isfinite().all()) for p in model.parameters()):
            raise FloatingPointError(f"training diverged: {one_line(error)}") from error
        raise
