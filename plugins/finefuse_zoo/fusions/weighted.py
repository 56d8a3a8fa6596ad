"""Weighted averaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Gt

from finefuse.types import Fusing, Level, Need
from finefuse_zoo.fusions._ensembles import weighted_mean
from finefuse_zoo.fusions._member_weights import By, member_weights

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Weighted:
    """p = sum_m w_m p_m, or of regressed values, with weights from the members' quality on val, or given.

    `by` "accuracy": w in proportion to accuracy; "above-chance": to accuracy less 1/classes; "softmax": to
    exp(accuracy / temperature), the only one for regression, where minus the squared error replaces accuracy. None is
    "accuracy", and "softmax" in regression. `weights` (one per member) are taken as they are, scaled to sum to one.
    Members of weight 0 are not deployed. Checked against `VotingClassifier(voting="soft", weights=...)` and
    `VotingRegressor`.
    """

    by: By | None = None
    temperature: Annotated[float, Gt(0)] = 0.05
    weights: tuple[Annotated[float, Ge(0)], ...] | None = None
    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ("val",)

    def fuse(self, of: Fusing) -> nn.Module:
        """An ensemble that averages probabilities with weights."""
        by = self.by or ("accuracy" if of.task.classes else "softmax")
        weights = member_weights(of, by, self.temperature, self.weights)
        return weighted_mean(of, torch.tensor(weights, dtype=torch.float64))
