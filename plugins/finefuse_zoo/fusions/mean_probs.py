"""Soft voting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse import nets
from finefuse.types import Fusing, Level, Need

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class MeanProbs:
    """p = 1/M sum_m softmax(z_m): the mean of the members' probabilities.

    Checked against scikit-learn's `VotingClassifier(voting="soft")`.
    """

    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ()
    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def fuse(self, of: Fusing) -> nn.Module:
        """An ensemble that averages probabilities."""
        return nets.CombineOutputs(of.members, of.task.averaged)
