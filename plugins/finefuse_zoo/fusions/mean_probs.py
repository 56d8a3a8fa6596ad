"""Soft voting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse import NotApplicable, nets
from finefuse.types import Fusing, Level, Need

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class MeanProbs:
    """p = 1/M sum_m softmax(z_m): the mean of the members' probabilities.

    Checked against scikit-learn's `VotingClassifier(voting="soft")`.
    """

    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ()

    def fuse(self, of: Fusing) -> nn.Module:
        """An ensemble that averages probabilities."""
        if of.task.kind != "classification":
            raise NotApplicable("regressed values are no probabilities; use 'mean'")

        def combine(outputs: Tensor) -> Tensor:
            return nets.log_probs(outputs.softmax(-1).mean(0))

        return nets.CombineOutputs(of.members, combine)
