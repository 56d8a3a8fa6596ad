"""Vectors between random matrices that all layers share."""

from __future__ import annotations

from dataclasses import dataclass
from re import Pattern
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from finefuse.types import Space, Tuning
from finefuse_zoo.schemes._peft_adapters import linear, tune_adapters


@dataclass(frozen=True)
class Vera:
    """Train W + diag(b) B diag(d) A with W, A and B frozen, and the head (VeRA, Kopiczko et al. 2024, 2310.11454).

    A (r, in) and B (out, r) are drawn once, as large as the largest layer needs, and shared by all; the vectors b start
    at zero and d at `start`. Linear layers of the stages only, or those that `targets` finds, as in `lora`. Checked as
    `lora`.
    """

    r: Annotated[int, Ge(1)] = 256
    start: float = 0.1
    lr: Annotated[float, Gt(0)] | None = None
    targets: Pattern[str] | None = None
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer."""
        import peft
        import torch

        key = int(torch.randint(2**31, (), generator=on.rng))
        config = peft.VeraConfig(r=self.r, d_initial=self.start, projection_prng_key=key)
        tune_adapters(on, config, lr=self.lr or on.model.recipe.lr_of_few, targets=self.targets, fits=linear)
