"""Stages for tests, and a suite with many of them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from finefuse import Entry, hookimpl, nets
from finefuse.types import Fusing, Law, Level, Need


@dataclass(frozen=True)
class Stage:
    """By itself the mean of the weights."""

    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ()

    def fuse(self, of: Fusing) -> nn.Module:
        return self.follow(nets.averaged(of.members, [1 / len(of.members)] * len(of.members), None), of)

    def follow(self, net: nets.Net, of: Fusing) -> nets.Net:
        raise NotImplementedError


@dataclass(frozen=True)
class Times(Stage):
    """Multiplies the heads, and looks at nothing."""

    by: float = 2.0

    def follow(self, net: nets.Net, of: Fusing) -> nets.Net:
        with torch.no_grad():
            for head in net.heads.values() if isinstance(net, nets.ManyHeads) else [net.head]:
                head.weight.mul_(self.by)
                head.bias.mul_(self.by)
        return net


@dataclass(frozen=True)
class Ordered(Times):
    """Says that it depends on the order of the members."""

    except_for: ClassVar[tuple[Law, ...]] = ("order",)


@dataclass(frozen=True)
class Trained(Stage):
    """Three steps of the trainer and two of its own."""

    needs: ClassVar[tuple[Need, ...]] = ("trainer",)

    def follow(self, net: nets.Net, of: Fusing) -> nets.Net:
        of.trainer.fit(net, [{"params": net.head.parameters(), "lr": 1e-3}], steps=3)
        for _ in range(2):
            torch.optim.SGD(net.head.parameters(), lr=0.1).step()
        return net


@dataclass(frozen=True)
class Sly(Stage):
    """Says that it uses no labels."""

    how: str = "val"
    needs: ClassVar[tuple[Need, ...]] = ("val", "train", "trainer")
    uses_labels: ClassVar[bool] = False

    def follow(self, net: nets.Net, of: Fusing) -> nets.Net:
        assert len(of.val) == len(of.val.x)
        assert torch.equal(of.train.inputs(slice(3)), of.train.x[:3])
        assert np.isnan(of.members[0].score)
        if self.how == "fit":
            of.trainer.fit(net, [{"params": net.head.parameters()}])
        return copy.deepcopy(net) if self.how == "nothing" else nn.Linear(int(of.val.y.sum()), 1)  # type: ignore[return-value]


@dataclass(frozen=True)
class Broken(Stage):
    """Gives no network."""

    def follow(self, net: nets.Net, of: Fusing) -> nets.Net:
        return nn.Identity()  # type: ignore[return-value]


class Stages:
    @hookimpl
    def finefuse_fusions(self):
        for cls in (Times, Ordered, Trained, Sly, Broken):
            yield Entry(cls.__name__.lower(), cls)


PLAIN = {"use": "soup", "recalibrate": False}
SUITE: dict[str, Any] = {
    "name": "stages",
    "budget": {"epochs": 3, "batch_size": 16},
    "datasets": [{"use": "points", "images": True}],
    "backbones": [{"use": "tiny", "images": True}],
    "schemes": ["full"],
    "fusions": [
        PLAIN | {"as": "plain"},
        PLAIN | {"as": "calibrated", "followed_by": ["recalibrate"]},
        PLAIN | {"as": "probed", "followed_by": ["probe-heads"]},
        PLAIN | {"as": "doubled", "followed_by": [{"use": "times", "by": 4.0}]},
        PLAIN | {"as": "in order", "followed_by": ["times", "probe-heads", {"use": "times", "by": 4.0}]},
        PLAIN | {"as": "trained", "followed_by": ["trained", "trained"]},
        PLAIN | {"as": "adapted", "followed_by": [{"use": "adamerging", "steps": 2}]},
        PLAIN | {"as": "reads labels", "followed_by": ["sly"]},
        PLAIN | {"as": "fits", "followed_by": [{"use": "sly", "how": "fit"}]},
        PLAIN | {"as": "is honest", "followed_by": [{"use": "sly", "how": "nothing"}]},
        PLAIN | {"as": "no network", "followed_by": ["broken"]},
        {
            "use": "search",
            "of": "task-arithmetic",
            "trials": 2,
            "sampler": "grid",
            "followed_by": ["times"],
            "as": "found",
        },
    ],
    "pools": {"pair": {"of": ["full"], "copies": 2}},
    "latency": [],
    "checkpoints": 0,
}
