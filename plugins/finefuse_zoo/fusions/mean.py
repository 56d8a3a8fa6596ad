"""Mean of regressed values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse import NotApplicable, nets
from finefuse.types import Fusing, Level, Need

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Mean:
    """y = 1/M sum_m y_m: the mean of the members' values, in regression (Perrone & Cooper 1993).

    Checked against scikit-learn's `VotingRegressor`.
    """

    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ()

    def fuse(self, of: Fusing) -> nn.Module:
        """An ensemble that averages values."""
        if of.task.classes:
            raise NotApplicable("classes have two means; use 'mean-probs' or 'mean-logits'")
        return nets.CombineOutputs(of.members, lambda outputs: outputs.mean(0))
