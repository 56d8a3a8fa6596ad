"""Gradual unfreezing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt

from finefuse.types import NormPolicy, Space, Tuning
from finefuse_zoo.schemes._stages import parts_of


@dataclass(frozen=True)
class GradualUnfreeze:
    """Train the head, then one more stage per phase, from the head down (ULMFiT, Howard & Ruder 2018, 1801.06146).

    All phases have the same number of steps; the last one also gets the remainder. In the paper, a phase is an epoch.
    Checked: what is trained in each phase.
    """

    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer per phase."""
        parts = parts_of(on.model, "gradual-unfreeze")[::-1]
        lr = self.lr or on.model.recipe.lr
        for n in range(1, len(parts) + 1):
            steps = on.trainer.budget // len(parts) if n < len(parts) else None
            groups = [{"params": part.parameters(), "lr": lr} for part in parts[:n]]
            on.trainer.fit(on.model, groups, steps=steps, norm=self.norm)
