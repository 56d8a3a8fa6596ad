"""What several fusions of outputs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from finefuse import nets
from finefuse.types import Fusing

if TYPE_CHECKING:
    from torch import Tensor


def weighted_mean(of: Fusing, weights: Tensor) -> nets.CombineOutputs:
    """The ensemble sum_m w_m p_m, or of regressed values; members of weight 0 are not deployed."""
    used = weights.nonzero().flatten().tolist()
    w, task = weights[used], of.task
    return nets.CombineOutputs([of.members[m] for m in used], lambda outputs: task.averaged(outputs, w))


def by_rule(of: Fusing, rule: Callable[[Tensor], Tensor]) -> nets.CombineOutputs:
    """`rule` of the members' log-probabilities (members, N, classes), renormalised; or of regressed values.

    Logarithms keep the order of probabilities too small for float32.
    """
    task = of.task
    return nets.CombineOutputs(of.members, lambda outputs: task.by_rule(outputs, rule))
