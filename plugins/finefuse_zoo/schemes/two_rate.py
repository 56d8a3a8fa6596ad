"""One rate for the backbone, one for the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt

from finefuse.types import NormPolicy, Space, Tuning


@dataclass(frozen=True)
class TwoRate:
    """Train the head at `lr` and the backbone at `ratio` times that; `lr` None uses the recipe's rate."""

    lr: Annotated[float, Gt(0)] | None = None
    ratio: Annotated[float, Gt(0)] = 0.1
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {
        "lr": {"low": 1e-4, "high": 0.3, "log": True},
        "ratio": {"low": 0.01, "high": 1.0, "log": True},
    }

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, with two groups."""
        lr = self.lr or on.model.recipe.lr
        groups = [
            {"params": on.model.stages.parameters(), "lr": self.ratio * lr},
            {"params": on.model.head.parameters(), "lr": lr},
        ]
        on.trainer.fit(on.model, groups, norm=self.norm)
