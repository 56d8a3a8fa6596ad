"""Low-rank adapters multiplied with each other."""

from __future__ import annotations

from dataclasses import dataclass
from re import Pattern
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from finefuse.types import Space, Tuning
from finefuse_zoo.schemes._peft_adapters import tune_adapters, zero_padded


@dataclass(frozen=True)
class Loha:
    """Train W + (alpha / r) (B1 A1 * B2 A2) with W frozen, and the head.

    LoHa is the parametrisation of FedPara (Hyeon-Woo et al. 2021, arXiv 2108.06098). The product of the two low-rank
    matrices is taken element by element, so its rank may be r^2. A convolution's weight counts as a matrix (out, in *
    kernel). `targets` as in `lora`; convolutions with a padding other than zeros are left alone. Checked as `lora`.
    """

    r: Annotated[int, Ge(1)] = 8
    alpha: Annotated[float, Ge(0)] = 8.0
    lr: Annotated[float, Gt(0)] | None = None
    targets: Pattern[str] | None = None
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer."""
        import peft

        config = peft.LoHaConfig(r=self.r, alpha=self.alpha)
        tune_adapters(on, config, lr=self.lr or on.model.recipe.lr_of_few, targets=self.targets, fits=zero_padded)
