"""Model stock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from finefuse import nets
from finefuse.types import Fusing, Level, Need
from finefuse_zoo.fusions._task_vectors import blocks, from_base, train_inputs

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class ModelStock:
    """t mean_m(theta_m) + (1 - t) theta_0 per tensor, t = M cos / (1 + (M - 1) cos) (Jang et al. 2024, 2403.19522).

    cos is the mean cosine of the pairs of tau_m = theta_m - theta_0; one member is taken as it is. Where the
    denominator vanishes, the base is kept. `recalibrate` recomputes BatchNorm's statistics on the training inputs.
    Checked against mergekit's `model_stock`.
    """

    recalibrate: bool = True
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "base")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        count = len(of.members)

        def rule(_: str, base: Tensor, members: list[Tensor]) -> Tensor:
            return torch.lerp(base, nets.weighted_sum(members, [1 / count] * count), ratio(base, members))

        return from_base(of, rule, train_inputs(of, self.recalibrate))


def ratio(base: Tensor, members: list[Tensor]) -> float:
    """How far to go from the base towards the mean of the members."""
    count = len(members)
    if count == 1:
        return 1.0
    products = torch.zeros(count, count, dtype=torch.float64, device=base.device)
    for _, tau in blocks(base, members):
        products += tau @ tau.T
    norms = products.diagonal().sqrt()
    pairs = norms * norms[:, None]
    cosines = torch.where(pairs > 0, products / pairs, torch.zeros_like(pairs))
    cos = float(cosines.triu(1).sum()) / (count * (count - 1) / 2)
    below = 1 + (count - 1) * cos
    return count * cos / below if abs(below) > 1e-6 else 0.0
