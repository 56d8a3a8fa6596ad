"""REPAIR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from finefuse import NotApplicable, matching, nets
from finefuse.types import Fusing, Law, Level, Need
from finefuse_zoo.fusions._layer_statistics import layers_to_mend, mend, moments

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Repair:
    """The mean of the weights, its layers scaled to the members' mean statistics (Jordan et al. 2023, 2211.08403).

    Averaged networks have activations that vary too little. So the outputs of every hidden layer are shifted and
    scaled, by its weights and bias, to the means over the members of their mean and of their standard deviation on the
    training inputs; where BatchNorm follows a layer, those of BatchNorm are, after its statistics are renewed. With
    `align` the members' units are matched first, as in `git-rebasin`; then the first member sets the order. Checked by
    measuring the repaired network.
    """

    align: bool = False
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train",)
    except_for: ClassVar[tuple[Law, ...]] = ()
    many_tasks: ClassVar[bool] = False

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        if not nets.share_a_task(of.members):
            raise NotApplicable("layers are mended on the inputs of one task, and the members have several")
        x, members = of.train.x, matching.aligned(of) if self.align else of.members
        net = nets.averaged(members, [1 / len(members)] * len(members), None)
        names = layers_to_mend(net, of.train.inputs(slice(2)))
        if any(_same(net, member.net) for member in members) or not names:
            return net
        seen = [moments(member.net, names, x) for member in members]
        goals = {}
        for name in names:
            means, stds = ([getattr(one[name], what) for one in seen] for what in ("mean", "std"))
            goals[name] = torch.stack(means).mean(0), torch.stack(stds).mean(0)
        mend(net, goals, x)
        return net


def _same(one: nets.Net, other: nets.Net) -> bool:
    return all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))
