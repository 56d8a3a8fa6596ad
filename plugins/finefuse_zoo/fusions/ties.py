"""TIES merging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Le

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._task_vectors import blockwise, elected, from_base, magnitude_at, train_inputs, with_base

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Ties:
    """theta_0 + scaling * tau, after trimming, electing signs and merging what agrees (Yadav et al. 2023, 2306.01708).

    Of each tau_m = theta_m - theta_0 the share `k` that is largest in magnitude is kept: of the whole network (`trim =
    "global"`, the paper's), or of every tensor separately ("tensor"). Of equal magnitudes at the border all are kept;
    "global" keeps one number more than `k`, as the authors' program does. The sign of a parameter is that of the sum of
    what was kept, and tau the `reduce` of those that have it. One member is trimmed too, so it gives itself only with
    `k` 1. `recalibrate` recomputes BatchNorm's statistics on the training inputs. A sum of 0 counts as positive.
    mergekit and peft trim every tensor separately, which is a different method with the same name. Checked against
    fusion_bench ("global") and mergekit ("tensor").
    """

    k: Annotated[float, Gt(0), Le(1)] = 0.2
    scaling: Annotated[float, Ge(0)] = 1.0
    trim: Literal["global", "tensor"] = "global"
    reduce: Literal["mean", "sum"] = "mean"
    recalibrate: bool = True
    space: ClassVar[Space] = {"scaling": {"low": 0.1, "high": 2.0}, "k": {"low": 0.05, "high": 1.0}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "base")
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        limits = self._limits(of) if self.trim == "global" else []

        def rule(_: str, base: Tensor, members: list[Tensor]) -> Tensor:
            rank = base.numel() - max(1, int(self.k * base.numel())) + 1
            least = limits or [magnitude_at(rank, [(base, member)]) for member in members]
            smallest = torch.tensor(least, dtype=torch.float64, device=base.device)[:, None]

            def combine(start: Tensor, tau: Tensor) -> Tensor:
                tau.masked_fill_(tau.abs() < smallest, 0)
                return start.add_(elected(tau, self.reduce), alpha=self.scaling)

            return blockwise(base, members, combine)

        return from_base(of, rule, train_inputs(of, self.recalibrate), min(1.0, self.scaling))

    def _limits(self, of: Fusing) -> list[float]:
        """The smallest magnitude of every member that is kept anywhere in the network."""
        start, *members = nets.states_of(with_base(of))
        names = [name for name, _ in of.members[0].net.named_parameters() if name in start]
        total = sum(start[name].numel() for name in names)
        rank = max(1, total - int(self.k * total))
        return [magnitude_at(rank, [(start[name], one[name]) for name in names]) for one in members]
