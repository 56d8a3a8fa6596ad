"""Mean of logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finefuse import nets
from finefuse.types import Fusing, Level, Need

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class MeanLogits:
    """z = 1/M sum_m z_m: the mean of the members' logits, which is the geometric mean of their probabilities.

    A member with large logits counts for more than in `mean-probs`. Checked against the formula.
    """

    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ()
    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def fuse(self, of: Fusing) -> nn.Module:
        """An ensemble that averages logits."""
        return nets.CombineOutputs(of.members, lambda outputs: outputs.mean(0))
