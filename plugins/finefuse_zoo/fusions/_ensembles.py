"""What several fusions of outputs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from finefuse import NotApplicable, nets
from finefuse.types import Fusing

if TYPE_CHECKING:
    from torch import Tensor


def need_classes(of: Fusing, why: str) -> None:
    """Refuse regression.

    Raises:
        NotApplicable: with the reason `why`.
    """
    if of.task.kind != "classification":
        raise NotApplicable(why)


def weighted_mean(of: Fusing, weights: Tensor) -> nets.CombineOutputs:
    """The ensemble sum_m w_m p_m, or of regressed values; members of weight nought are not deployed."""
    used = weights.nonzero().flatten().tolist()
    w = weights[used, None, None]
    classes = of.task.kind == "classification"

    def combine(outputs: Tensor) -> Tensor:
        share = w.to(outputs)
        return nets.log_probs((share * outputs.softmax(-1)).sum(0)) if classes else (share * outputs).sum(0)

    return nets.CombineOutputs([of.members[m] for m in used], combine)


def by_rule(of: Fusing, rule: Callable[[Tensor], Tensor]) -> nets.CombineOutputs:
    """`rule` of the members' log-probabilities (members, N, classes), renormalised; or of regressed values.

    Logarithms keep the order of probabilities too small for float32.
    """
    classes = of.task.kind == "classification"

    def combine(outputs: Tensor) -> Tensor:
        return rule(outputs.log_softmax(-1)).log_softmax(-1) if classes else rule(outputs)

    return nets.CombineOutputs(of.members, combine)
