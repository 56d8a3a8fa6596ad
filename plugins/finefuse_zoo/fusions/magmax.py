"""MagMax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge

from finefuse.types import Fusing, Level, Need, Space
from finefuse_zoo.fusions._task_vectors import blockwise, from_base, train_inputs

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class MagMax:
    """theta_0 + scaling * tau, tau for each number the tau_m of largest magnitude (Marczak et al. 2024, 2407.06322).

    tau_m = theta_m - theta_0. Of two that differ in sign only, the positive one is taken. `scaling` 1, with which one
    member gives the member, suits members of one task; the paper takes 0.5 for different ones. `recalibrate` recomputes
    BatchNorm's statistics on the training inputs. Checked against fusion_bench.
    """

    scaling: Annotated[float, Ge(0)] = 1.0
    recalibrate: bool = True
    space: ClassVar[Space] = {"scaling": {"low": 0.1, "high": 2.0}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "base")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""

        def combine(start: Tensor, tau: Tensor) -> Tensor:
            highest, lowest = tau.amax(0), tau.amin(0)
            return start.add_(torch.where(highest >= -lowest, highest, lowest), alpha=self.scaling)

        def rule(_: str, base: Tensor, members: list[Tensor]) -> Tensor:
            return blockwise(base, members, combine)

        return from_base(of, rule, train_inputs(of, self.recalibrate), min(1.0, self.scaling))
