"""The mean on the sphere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from finefuse.types import Fusing, Level, Need
from finefuse_zoo.fusions._task_vectors import by_inner_products

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 100
TOLERANCE = 1e-7


@dataclass(frozen=True)
class Karcher:
    """Per tensor the Riemannian (Karcher) mean of the directions, with the mean of the norms (2603.04972).

    Gradient steps on the sphere (Karcher 1977): with u_m the directions, mu moves to exp_mu(1/M sum_m log_mu(u_m))
    until it stays. The mean lies in the span of the members, so all is done with their inner products. A tensor that is
    0 has no direction, but its norm counts; where the directions cancel, the tensors are averaged. `recalibrate`
    recomputes BatchNorm's statistics on the training inputs. Checked against mergekit's `karcher`; with two members it
    is the middle of the arc.
    """

    recalibrate: bool = True
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train",)

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        return by_inner_products(of, coefficients, self.recalibrate)


def coefficients(products: Tensor) -> Tensor:
    """Of tensors (M,) in their mean, from their inner products (M, M) in float64."""
    norms = products.diagonal().sqrt()
    some = norms > 0
    flat = torch.full_like(norms, 1 / len(norms))
    share = some.to(norms) / some.sum().clamp_min(1)
    inverse = torch.where(some, 1 / norms, torch.zeros_like(norms))
    cosines = products * inverse * inverse[:, None]

    def length(at: Tensor) -> Tensor:
        return (at @ cosines @ at).clamp_min(0).sqrt()

    if length(share) < TOLERANCE:
        return flat
    mean = share / length(share)
    for _ in range(STEPS):
        towards = (cosines @ mean).clamp(-1, 1)
        angle = towards.acos()
        factor = torch.where(towards.abs() < 1 - 1e-12, share * angle / angle.sin(), share * (towards > 0).to(share))
        tangent = factor - (factor @ towards) * mean
        step = length(tangent)
        if step < TOLERANCE:
            break
        mean = step.cos() * mean + step.sin() / step * tangent
        mean = mean / length(mean)
    return norms.mean() * mean * inverse
