"""Spherical interpolation of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from finefuse.types import Fusing, Level, Need
from finefuse_zoo.fusions._task_vectors import by_inner_products

if TYPE_CHECKING:
    from torch import Tensor, nn

CANCELS = 1e-7


@dataclass(frozen=True)
class MultiSlerp:
    """Per tensor the mean of the directions, made as long as the members are in the mean (Goddard 2025).

    The interpolation of mergekit's `multislerp`: directions are moved to the tangent space at their normalised mean,
    averaged there and moved back. What is averaged there sums to 0, so the normalised mean itself is the result; of
    two, with the middle of the arc, `slerp`'s. `karcher` is the mean whose logarithms cancel. A tensor that is 0 has no
    direction, but its length counts; where the directions cancel, the tensors are averaged. `recalibrate` recomputes
    BatchNorm's statistics on the training inputs. Checked against mergekit's `multislerp`.
    """

    recalibrate: bool = True
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train",)

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        return by_inner_products(of, coefficients, self.recalibrate)


def coefficients(products: Tensor) -> Tensor:
    """Of tensors (M,) in their interpolation, from their inner products (M, M) in float64."""
    norms = products.diagonal().sqrt()
    inverse = torch.where(norms > 0, 1 / norms, torch.zeros_like(norms)) / len(norms)
    length = (inverse @ products @ inverse).clamp_min(0).sqrt()
    return norms.mean() * inverse / length if length > CANCELS else torch.full_like(norms, 1 / len(norms))
