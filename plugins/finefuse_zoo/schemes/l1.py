"""Lasso on all weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from finefuse.types import NormPolicy, Space, Tuning
from finefuse_zoo.schemes.elastic import Elastic


@dataclass(frozen=True)
class L1:
    """Train everything on L + strength ||w||_1, by proximal steps: `elastic` without its square.

    A subgradient would never make weights exactly zero. Checked as `elastic`.
    """

    strength: Annotated[float, Ge(0)] = 1e-4
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {
        "lr": {"low": 1e-4, "high": 0.3, "log": True},
        "strength": {"low": 1e-6, "high": 0.01, "log": True},
    }

    def tune(self, on: Tuning) -> None:
        """One call of the trainer."""
        Elastic(l1=self.strength, l2=0.0, lr=self.lr, norm=self.norm).tune(on)
