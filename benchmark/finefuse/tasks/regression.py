"""Regression: numbers, by their squared error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse.tasks.values import Values
from finefuse.types import Data

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Regression(Values):
    """Predict `outputs` numbers for each example; targets are (N, outputs), float32."""

    kind: ClassVar[str] = "regression"

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The squared error of each example, the mean over its outputs."""
        return (outputs - y).square().mean(-1)

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The mean squared error."""
        from torch.nn import functional

        return functional.mse_loss(outputs, y)

    def quality(self, outputs: Tensor, data: Data) -> float:
        """Minus the mean squared error."""
        return -float(self.loss(outputs.double(), data.y.double()).detach())
