"""Fisher-weighted averaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt

from finefuse import nets
from finefuse.types import Fusing, Level, Need, Space
from finefuse_zoo.fusions._curvature import fisher
from finefuse_zoo.fusions._task_vectors import drawn_inputs, train_inputs

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Fisher:
    """theta = sum_m F_m theta_m / sum_m F_m, F_m its diagonal Fisher information (Matena & Raffel 2022, 2111.09832).

    F_m = E_x E_(y ~ p_m(y|x)) (d log p_m(y|x) / d theta)^2 over `samples` training inputs drawn at random, the same for
    all members of one task, example by example in evaluation mode; what lies below `floor` is raised to it. The
    expectation over y is a sum over all classes, or with `labels = "sampled"` one draw, for tasks of many classes.
    Values in regression count as normal with variance 1. `recalibrate` recomputes BatchNorm's statistics on the
    training inputs. It is exact: the gradients of single examples are squared, where the usual code squares that of a
    batch. Checked against a loop over examples and classes, and against the combination in fusion_bench.
    """

    samples: Annotated[int, Ge(1)] = 256
    floor: Annotated[float, Gt(0)] = 1e-6
    labels: Literal["all", "sampled"] = "all"
    recalibrate: bool = True
    space: ClassVar[Space] = {"floor": {"low": 1e-8, "high": 1e-2, "log": True}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train",)

    def own_gradients(self, of: Fusing) -> int:
        """Those of single examples, one for each output, which are squared and train nothing."""
        return self.samples * sum(member.task.outputs for member in of.members)

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        nets.states_of(of.members)
        pairs = list(zip(of.members, drawn_inputs(of, self.samples), strict=True))
        rng = of.rng if self.labels == "sampled" else None
        weights = [fisher(member.net, member.task, x, rng) for member, x in pairs]
        own = nets.own_names(of.members[0].net)

        def rule(name: str, tensors: list[Tensor]) -> Tensor:
            return weighted(tensors, [f[own[name]].clamp_min(self.floor) for f in weights])

        return nets.merged(of.members, rule, train_inputs(of, self.recalibrate))


def weighted(tensors: list[Tensor], weights: list[Tensor]) -> Tensor:
    """sum_m w_m x_m / sum_m w_m, element by element, in float64; the mean where all w_m are 0."""
    total = torch.stack([w.double() * x.double() for w, x in zip(weights, tensors, strict=True)]).sum(0)
    weight = torch.stack(weights).double().sum(0)
    return torch.where(weight > 0, total / weight, nets.weighted_sum(tensors, [1 / len(tensors)] * len(tensors)))
