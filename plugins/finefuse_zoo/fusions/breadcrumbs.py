"""Model breadcrumbs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Le, Lt

from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._task_vectors import blockwise, from_base, magnitude_at, train_inputs

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Breadcrumbs:
    """theta_0 + scaling * sum of tau_m without their largest and smallest numbers (Davari & Belilovsky 2024).

    2312.06795. Of every tensor of tau_m = theta_m - theta_0 the share `top` that is largest in magnitude is set to 0,
    of the rest the smallest, until the share `k` is left; one number at least is. Of equal magnitudes at a border all
    are kept. The paper's beta is 1 - `k` - `top`, its gamma 1 - `top`. One member is thinned too. `recalibrate`
    recomputes BatchNorm's statistics on the training inputs. Checked against mergekit's `breadcrumbs` and by sorting.
    """

    k: Annotated[float, Gt(0), Le(1)] = 0.143
    top: Annotated[float, Ge(0), Lt(1)] = 0.007
    scaling: Annotated[float, Ge(0)] = 0.3
    recalibrate: bool = True
    space: ClassVar[Space] = {"scaling": {"low": 0.05, "high": 1.5}, "k": {"low": 0.05, "high": 0.9}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "base")
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""

        def rule(_: str, base: Tensor, members: list[Tensor]) -> Tensor:
            limits = torch.tensor([self._limits(base, member) for member in members], dtype=torch.float64)
            low, high = limits.to(base.device).T[:, :, None]

            def combine(start: Tensor, tau: Tensor) -> Tensor:
                size = tau.abs()
                return start.add_(tau.masked_fill_((size < low) | (size > high), 0).sum(0), alpha=self.scaling)

            return blockwise(base, members, combine)

        share = self.scaling * len(of.members)
        return from_base(of, rule, train_inputs(of, self.recalibrate), min(1.0, share))

    def _limits(self, base: Tensor, member: Tensor) -> tuple[float, float]:
        """The smallest and the largest magnitude that are kept."""
        count = base.numel()
        kept = max(1, int(self.k * count))
        cut = min(int(self.top * count), count - kept)
        pair = [(base, member)]
        return magnitude_at(count - cut - kept + 1, pair), magnitude_at(count - cut, pair)
