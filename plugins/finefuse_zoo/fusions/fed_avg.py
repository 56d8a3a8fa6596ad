"""Federated averaging."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

from finefuse import NotApplicable, nets
from finefuse.types import Fusing, Level, Need, NormPolicy, Space
from finefuse_zoo.fusions._shards import deal

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class FedAvg:
    """Clients tune on their own shards, their weights are averaged, and so on (McMahan et al. 2017, 1602.05629).

    As many clients as the pool has members, whose own weights take no part. In each of `exchanges` every client trains
    everything on its shard, from the average of the one before, with the trainer's schedule; weights count by the size
    of the shard. All clients and exchanges share one budget of steps evenly; it counts the total work, although clients
    could work at the same time. `shards` "iid" deals the training data out at random; "sorted" sorts it by target, cuts
    it in two pieces per client and deals those out, so a client sees few classes. `recalibrate` recomputes BatchNorm's
    statistics on all training inputs at the end. Every local run has budget / (exchanges x clients) steps. Checked
    against a plain loop; one client in one exchange is `full` on its shard.
    """

    exchanges: Annotated[int, Ge(1)] = 5
    shards: Literal["iid", "sorted"] = "iid"
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    recalibrate: bool = True
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("base", "train", "trainer")
    alone: ClassVar[bool] = True

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        net, clients, budget = copy.deepcopy(of.base), len(of.members), of.trainer.budget
        steps = budget // (self.exchanges * clients)
        if not steps:
            raise NotApplicable(
                f"{self.exchanges} exchanges with {clients} clients take more than the budget of {budget} steps"
            )
        shards = deal(of.train, clients, self.shards, of.rng)
        shares = [len(rows) / len(of.train) for rows in shards]
        groups = [{"params": list(net.parameters()), "lr": self.lr or net.recipe.lr}]
        for _ in range(self.exchanges):
            start, states = copy.deepcopy(net.state_dict()), []
            for rows in shards:
                net.load_state_dict(start)
                of.trainer.fit(net, groups, steps=steps, norm=self.norm, rows=rows)
                states.append(copy.deepcopy(net.state_dict()))
            net.load_state_dict(nets.average(states, shares))
        if self.recalibrate and self.norm == "train":
            nets.recalibrate(net, of.train.x)
        return net.eval()
