"""Weighted averaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt

from finefuse import NotApplicable
from finefuse.types import Fusing, Level, Need
from finefuse_zoo.fusions._ensembles import weighted_mean

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Weighted:
    """p = sum_m w_m p_m, or of regressed values, with weights from the members' quality on val, or given.

    `by` "accuracy": w in proportion to accuracy; "above-chance": to accuracy less 1/classes; "softmax": to exp(accuracy
    / temperature), the only one for regression, where minus the squared error stands for accuracy. `weights` (one per
    member) are taken as they are, scaled to sum to one. Members of weight nought are not deployed. Checked against
    `VotingClassifier(voting="soft", weights=...)` and `VotingRegressor`.
    """

    by: Literal["accuracy", "above-chance", "softmax"] = "accuracy"
    temperature: Annotated[float, Gt(0)] = 0.05
    weights: tuple[Annotated[float, Ge(0)], ...] | None = None
    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ("val",)

    def fuse(self, of: Fusing) -> nn.Module:
        """An ensemble that averages probabilities with weights."""
        return weighted_mean(of, self._weights(of))

    def _weights(self, of: Fusing) -> Tensor:
        if self.weights is not None:
            if len(self.weights) != len(of.members):
                raise NotApplicable(f"{len(self.weights)} weights were given for {len(of.members)} members")
            w = torch.tensor(self.weights, dtype=torch.float64)
        else:
            score = torch.tensor([member.score for member in of.members], dtype=torch.float64)
            if self.by == "softmax":
                w = (score / self.temperature).softmax(0)
            elif of.task.kind != "classification":
                raise NotApplicable(f"by = {self.by!r} needs accuracies; use by = 'softmax' for regression")
            else:
                w = score if self.by == "accuracy" else (score - 1 / of.task.outputs).clamp_min(0)
        if not w.sum() > 0:
            raise NotApplicable("no member has a positive weight")
        return w / w.sum()
