"""Kronecker products of small matrices."""

from __future__ import annotations

from dataclasses import dataclass
from re import Pattern
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from finefuse.types import Space, Tuning
from finefuse_zoo.schemes._peft_adapters import tune_adapters, zero_padded


@dataclass(frozen=True)
class Lokr:
    """Train W + (alpha / r) kron(C, B A) with W frozen, and the head (LoKr, Yeh et al. 2023, arXiv 2309.14859).

    The sides of W are split into two factors each, as near to a square as they can be; C has the smaller ones and
    starts at zero. Where `r` is at least half of the larger factors, a full matrix stands for B A. A convolution's B A
    has the kernel's size. `targets` as in `lora`; convolutions with a padding other than zeros are left alone. Checked
    as `lora`.
    """

    r: Annotated[int, Ge(1)] = 8
    alpha: Annotated[float, Ge(0)] = 8.0
    lr: Annotated[float, Gt(0)] | None = None
    targets: Pattern[str] | None = None
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer."""
        import peft

        config = peft.LoKrConfig(r=self.r, alpha=self.alpha)
        tune_adapters(on, config, lr=self.lr or on.model.recipe.lr_of_few, targets=self.targets, fits=zero_padded)
