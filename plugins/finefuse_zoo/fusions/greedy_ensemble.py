"""Greedy ensemble selection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge

from finefuse.types import Fusing, Level, Need
from finefuse_zoo.fusions._ensembles import weighted_mean
from finefuse_zoo.fusions._greedy import Classes, Values, choose

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class GreedyEnsemble:
    """Repeatedly add the member that makes the mean of probabilities best on val (Caruana et al. 2004).

    doi 10.1145/1015330.1015432. A member may be added more than once; of all `picks` the first best bag is kept, and
    w_m is the member's share of it. Best is the accuracy, in regression the squared error of the mean of values. Of
    members that are as good those in the bag come first, then the larger likelihood, then the pool's order. Members
    that are never added are not deployed. Checked: the weights are those of AutoGluon's
    `EnsembleSelection(tie_breaker="second_metric")`; plain loops, ties among them.
    """

    picks: Annotated[int, Ge(1)] = 25
    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ("val",)

    def fuse(self, of: Fusing) -> nn.Module:
        """An ensemble of the members in the bag, that averages with weights."""
        outputs = torch.stack([member.val_outputs for member in of.members])
        bag = Classes(outputs, of.val.y) if of.task.classes else Values(outputs, of.val.y)
        chosen = choose(bag, self.picks)
        counts = torch.tensor([chosen.count(m) for m in range(len(of.members))], dtype=torch.float64)
        return weighted_mean(of, counts / len(chosen))
