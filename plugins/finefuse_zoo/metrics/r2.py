"""Coefficient of determination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class R2:
    """1 - sum (y - yhat)^2 / sum (y - mean y)^2, averaged over the outputs: 1 at best, 0 for the mean as answer.

    It doesn't depend on the units of the targets. An output whose targets are all one number counts 1 if every value
    hits it and 0 if not, as in scikit-learn.
    """

    kinds: ClassVar[tuple[str, ...]] = ("regression",)
    higher_is_better: ClassVar[bool] = True

    def score(self, outputs: Tensor, y: Tensor) -> float:
        """Values (N, outputs) against targets (N, outputs), at least two of them."""
        if len(y) < 2:
            raise ValueError(f"r2 needs two examples or more, not {len(y)}")
        outputs, y = outputs.double(), y.double()
        missed = (outputs - y).square().sum(0)
        spread = (y - y.mean(0)).square().sum(0)
        constant = (y == y[0]).all(0)
        ratio = torch.where(constant, (missed > 0).double(), missed / spread)
        return float((1 - ratio).mean())
