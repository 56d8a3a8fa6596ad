"""BatchNorm's statistics renewed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need
from finefuse_zoo.fusions._statistics import renewed

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Recalibrate:
    """BatchNorm's running statistics recomputed on training inputs, without labels (Izmailov et al. 2018, 1803.05407).

    A stage: it follows a fusion, and changes the statistics whatever that did with them. In a pool across data sets
    `statistics` says whether they are renewed once ("shared") or for each task ("per-task"); None takes the pool's
    policy, and "shared" where that is "averaged". By itself it follows the mean of the members' weights, so even a
    single member gets other statistics. Without BatchNorm it changes nothing. Checked by hand: the mean over batches of
    their means and unbiased variances.
    """

    statistics: Literal["shared", "per-task"] | None = None
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train",)
    uses_labels: ClassVar[bool] = False
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        return self.follow(nets.averaged(of.members, [1 / len(of.members)] * len(of.members), None), of)

    def follow(self, net: nets.Net, of: Fusing) -> nets.Net:
        """The same network with other statistics."""
        policy = self.statistics or ("shared" if of.statistics == "averaged" else of.statistics)
        return renewed(net, nets.train_inputs(replace(of, statistics=policy)))
