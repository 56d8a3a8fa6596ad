"""Merging layers by regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Le

from finefuse import nets
from finefuse.types import Fusing, Level, Need, Space
from finefuse_zoo.fusions._curvature import Regression, damped, grams
from finefuse_zoo.fusions._task_vectors import drawn_inputs, train_inputs

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class RegMean:
    """W = (sum_m G_m)^-1 sum_m G_m W_m for every layer, G_m = X_m^T X_m of its inputs (Jin et al. 2023, 2212.09849).

    The layer that is nearest, in least squares, to what each member's layer gives on its own inputs. W is (inputs,
    outputs); convolutions count as linear layers on unfolded patches, those in groups are averaged, as is all else:
    biases, norms, layers that don't run. Off-diagonals of G_m are multiplied by `a`; directions that no member sees
    keep the mean. The inputs are those of `samples` training examples drawn at random, the same for all members.
    `recalibrate` recomputes BatchNorm's statistics on the training inputs. Solved for as the change from the mean of
    the weights, so equal members are returned exactly. Checked against the normal equations, and against fusion_bench.
    """

    samples: Annotated[int, Ge(1)] = 256
    a: Annotated[float, Ge(0), Le(1)] = 0.9
    recalibrate: bool = True
    space: ClassVar[Space] = {"a": {"low": 0.1, "high": 1.0}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train",)

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        states = nets.states_of(of.members)
        inputs = drawn_inputs(of, self.samples)
        layers: dict[str, Regression] = {}
        for member, state, x in zip(of.members, states, inputs, strict=True):
            seen = grams(member.net, x)
            for name in [name for name in seen if name in state]:
                if name not in layers:
                    layers[name] = Regression(torch.stack([_matrix(each[name]) for each in states]).mean(0))
                layers[name].add(_matrix(state[name]), damped(seen.pop(name), self.a))
        own = nets.own_names(of.members[0].net)

        def rule(name: str, tensors: list[Tensor]) -> Tensor:
            layer = layers.get(own[name])
            if layer is None or layer.count < len(tensors):
                return torch.stack(tensors).double().mean(0)
            return layer.solved().T.contiguous().view_as(tensors[0])

        return nets.merged(of.members, rule, train_inputs(of, self.recalibrate))


def _matrix(weight: Tensor) -> Tensor:
    return weight.double().flatten(1).T
