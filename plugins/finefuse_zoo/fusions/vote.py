"""Majority voting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse import nets
from finefuse.types import Fusing, Level, Need

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Vote:
    """argmax_c sum_m 1[argmax p_m = c]: one member, one vote; a tie goes to the lowest class.

    The outputs are the logarithms of the shares of the votes. Checked against scikit-learn's
    `VotingClassifier(voting="hard")`, ties among them.
    """

    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ()
    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def fuse(self, of: Fusing) -> nn.Module:
        """An ensemble that counts votes."""

        def combine(outputs: Tensor) -> Tensor:
            return nets.log_probs(nets.one_hot_votes(outputs).mean(0))

        return nets.CombineOutputs(of.members, combine)
