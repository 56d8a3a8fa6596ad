"""Discriminative fine-tuning: a rate per stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

from finefuse.types import NormPolicy, Space, Tuning
from finefuse_zoo.schemes._stages import parts_of


@dataclass(frozen=True)
class Discriminative:
    """Train everything, each stage at a smaller rate than the one above it (ULMFiT, Howard & Ruder 2018, 1801.06146).

    `spread` "factor": lr_(l-1) = lr_l / `factor`. "geometric": from lr / `ratio` in the first stage to lr in the head
    by equal factors, whatever the depth. `lr` is the head's rate; None takes the recipe's. Checked against fastcore's
    `even_mults`.
    """

    lr: Annotated[float, Gt(0)] | None = None
    spread: Literal["factor", "geometric"] = "factor"
    factor: Annotated[float, Ge(1)] = 2.6
    ratio: Annotated[float, Ge(1)] = 100.0
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}, "factor": {"low": 1.0, "high": 5.0}}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, with a group per stage."""
        parts = parts_of(on.model, "discriminative")
        rates = self.rates(self.lr or on.model.recipe.lr, len(parts))
        groups = [{"params": part.parameters(), "lr": rate} for part, rate in zip(parts, rates, strict=True)]
        on.trainer.fit(on.model, groups, norm=self.norm)

    def rates(self, lr: float, count: int) -> list[float]:
        """The rates of `count` parts, the head's last."""
        step = self.factor if self.spread == "factor" else self.ratio ** (1 / max(count - 1, 1))
        return [lr / step**depth for depth in reversed(range(count))]
