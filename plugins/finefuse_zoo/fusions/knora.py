"""Dynamic selection by oracles among the nearest examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from annotated_types import Ge

from finefuse import nets
from finefuse.types import Fusing, Level, Need

if TYPE_CHECKING:
    from torch import Tensor, nn

SCALE = 2**24
"""Squared distances are told apart to 1/SCALE, so that rounding doesn't choose between neighbours."""


@dataclass(frozen=True)
class Knora:
    """For each example, the members that are right on the k most similar val examples vote (Ko et al. 2008).

    doi 10.1016/j.patcog.2007.10.015. Similarity is that of the members' concatenated probabilities; of two that
    are as near the earlier counts. "eliminate": members that are right on all k, or on as many of the nearest as any
    member is, vote. "union": a member has one vote for each of the k that it is right on. Where no member is right, all
    vote. A tie goes to the lowest class; the outputs are the logarithms of the shares of the votes. Classification
    only. Checked against DESlib's `KNORAE` and `KNORAU`, and plain loops.
    """

    rule: Literal["eliminate", "union"] = "eliminate"
    k: Annotated[int, Ge(1)] = 7
    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ("val",)
    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def fuse(self, of: Fusing) -> nn.Module:
        """An ensemble whose members vote where they are competent."""
        outputs = torch.stack([member.val_outputs for member in of.members])
        known, right = profiles(outputs), (outputs.argmax(-1) == of.val.y).T  # (N, members)
        k = min(self.k, len(known))

        def combine(outputs: Tensor) -> Tensor:
            near = right.to(outputs.device)[nearest(profiles(outputs), known.to(outputs.device), k)].long()
            run = near.cumprod(1) if self.rule == "eliminate" else near
            votes = run.sum(1)  # (N, members)
            best = votes.amax(1, keepdim=True)
            if self.rule == "eliminate":
                votes = (votes == best).long()
            weights = torch.where(best > 0, votes, 1).to(outputs)
            counted = torch.einsum("nm,mnc->nc", weights, nets.one_hot_votes(outputs))
            return nets.log_probs(counted / weights.sum(1, keepdim=True))

        return nets.CombineOutputs(of.members, combine)


def profiles(outputs: Tensor) -> Tensor:
    """(members, N, classes) outputs to (N, members * classes) probabilities."""
    return torch.cat(list(outputs.double().softmax(-1)), -1)


def nearest(x: Tensor, known: Tensor, k: int) -> Tensor:
    """Row numbers (N, k) of the rows of `known` nearest to each of `x`, the nearest first."""
    squared = x.square().sum(1, keepdim=True) - 2 * x @ known.T + known.square().sum(1)
    order = (squared.clamp_min(0) * SCALE).round().long() * len(known)  # one number says distance, then place
    return (order + torch.arange(len(known), device=x.device)).topk(k, largest=False).indices
