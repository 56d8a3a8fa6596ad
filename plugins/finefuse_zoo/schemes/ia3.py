"""A learned scale for each output of every layer."""

from __future__ import annotations

from dataclasses import dataclass
from re import Pattern
from typing import Annotated, ClassVar

from annotated_types import Gt

from finefuse.types import Space, Tuning
from finefuse_zoo.schemes._peft_adapters import tune_adapters


@dataclass(frozen=True)
class Ia3:
    """Train l * (W x + b) with W and b frozen and l, one number per output, starting at 1; and the head.

    IA3 (Liu et al. 2022, arXiv 2205.05638) puts l at a transformer's keys, values and inner activations; here every
    linear and convolutional layer of the stages has one, or those that `targets` finds, as in `lora`. Checked as
    `lora`.
    """

    lr: Annotated[float, Gt(0)] | None = None
    targets: Pattern[str] | None = None
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer."""
        import peft

        tune_adapters(
            on, peft.IA3Config(feedforward_modules=[]), lr=self.lr or on.model.recipe.lr_of_few, targets=self.targets
        )
