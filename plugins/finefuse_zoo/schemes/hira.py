"""High-rank changes by low-rank matrices."""

from __future__ import annotations

from dataclasses import dataclass
from re import Pattern
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Gt, Lt

from finefuse.types import Space, Tuning
from finefuse_zoo.schemes._peft_adapters import tune_adapters, zero_padded

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Hira:
    """Train W * (1 + B A), number by number, with W frozen, and the head (HiRA, Huang et al. 2025, ICLR).

    A (r, in) starts random and B (out, r) at zero, as in `lora`, of which it is the multiplicative kind: the change has
    a rank as high as W's times `r`. Weights of 0 stay 0. Convolutions with groups, which peft gets wrong, and those
    with a padding other than zeros are left alone. `targets` as in `lora`. Checked as `lora`.
    """

    r: Annotated[int, Ge(1)] = 32
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    lr: Annotated[float, Gt(0)] | None = None
    targets: Pattern[str] | None = None
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer."""
        import peft

        config = peft.HiraConfig(r=self.r, hira_dropout=self.dropout)
        tune_adapters(on, config, lr=self.lr, targets=self.targets, fits=_without_groups)


def _without_groups(layer: nn.Module) -> bool:
    return zero_padded(layer) and getattr(layer, "groups", 1) == 1
