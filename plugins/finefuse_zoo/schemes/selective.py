"""Surgical fine-tuning: some stages alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

from finefuse import NotApplicable
from finefuse.types import NormPolicy, Space, Tuning
from finefuse_zoo.schemes._stages import parts_of


@dataclass(frozen=True)
class Selective:
    """Train the head and the first, last or middle `k` stages, and freeze the rest (Lee et al. 2022, 2210.11466).

    If there is no exact middle, it is one stage nearer to the input. `lr` None uses the recipe's rate. The paper calls
    it surgical fine-tuning.
    """

    which: Literal["first", "last", "middle"] = "last"
    k: Annotated[int, Ge(1)] = 2
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {
        "lr": {"low": 1e-4, "high": 0.3, "log": True},
        "which": {"choices": ("first", "middle", "last")},
    }

    def tune(self, on: Tuning) -> None:
        """One call of the trainer."""
        stages = parts_of(on.model, "selective")[:-1]
        if self.k > len(stages):
            raise NotApplicable(f"k = {self.k}, but the network has {len(stages)} stages")
        spare = len(stages) - self.k
        start = {"first": 0, "middle": spare // 2, "last": spare}[self.which]
        lr = self.lr or on.model.recipe.lr
        groups = [{"params": part.parameters(), "lr": lr} for part in [*stages[start : start + self.k], on.model.head]]
        on.trainer.fit(on.model, groups, norm=self.norm)
