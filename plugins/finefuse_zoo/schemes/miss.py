"""Shards of a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from re import Pattern
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Gt

from finefuse.types import Space, Tuning
from finefuse_zoo.schemes._peft_adapters import linear, tune_adapters

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Miss:
    """Train W + E with W frozen, the columns of E being `r` that repeat, and the head (MiSS, Kang et al. 2024).

    arXiv 2409.15371. Column j of E is column j mod r of one matrix D (out, r), which starts at zero. Linear layers of
    the stages with at least `r` inputs, or those of them that `targets` finds, as in `lora`. Checked as `lora`.
    """

    r: Annotated[int, Ge(1)] = 8
    lr: Annotated[float, Gt(0)] | None = None
    targets: Pattern[str] | None = None
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer."""
        import peft

        tune_adapters(on, peft.MissConfig(r=self.r), lr=self.lr, targets=self.targets, fits=self._fits)

    def _fits(self, layer: nn.Module) -> bool:
        return linear(layer) and layer.get_parameter("weight").shape[1] >= self.r
