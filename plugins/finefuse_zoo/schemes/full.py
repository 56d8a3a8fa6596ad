"""Full fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt

from finefuse.types import NormPolicy, Space, Tuning


@dataclass(frozen=True)
class Full:
    """Train every parameter with the backbone's own recipe.

    `lr` None uses the recipe's rate. `norm` is the policy for BatchNorm; see `finefuse.types.Trainer.fit`. Checked
    against a bare torch loop, bit for bit.
    """

    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, for the whole budget."""
        lr = self.lr or on.model.recipe.lr
        on.trainer.fit(on.model, [{"params": on.model.parameters(), "lr": lr}], norm=self.norm)
