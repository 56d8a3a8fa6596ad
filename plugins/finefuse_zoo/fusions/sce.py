"""Select, calculate, erase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Gt, Le

from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._task_vectors import blocks, blockwise, from_base, train_inputs

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Sce:
    """theta_0 + weighted mean of what varies most among the tau_m and agrees in sign (Wan et al. 2024, 2408.07990).

    FuseChat 3's merge; tau_m = theta_m - theta_0. Select: of every tensor the share `k` of those numbers that differ
    among members, by their variance. Calculate: a member's weight in a tensor is the sum of the squares of what is left
    of it. Erase: numbers against the sign of their sum, which counts as positive where it is 0. Where members don't
    differ the base is kept, so one member, or equal ones, give the base; `k` 1 selects everything instead.
    `recalibrate` recomputes BatchNorm's statistics on the training inputs. Checked against mergekit's `sce`.
    """

    k: Annotated[float, Gt(0), Le(1)] = 0.1
    recalibrate: bool = True
    space: ClassVar[Space] = {"k": {"low": 0.05, "high": 1.0}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "base")
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""

        def rule(_: str, base: Tensor, members: list[Tensor]) -> Tensor:
            least = self._least_variance(base, members)
            squares = torch.zeros(len(members), 1, dtype=torch.float64, device=base.device)
            for _start, tau in blocks(base, members):
                squares += _selected(tau, least).square().sum(1, keepdim=True)
            weights = torch.where(
                squares.sum() > 0, squares / squares.sum(), torch.full_like(squares, 1 / len(members))
            )

            def combine(start: Tensor, tau: Tensor) -> Tensor:
                kept = _selected(tau, least)
                sign = torch.where(kept.sum(0) >= 0, 1.0, -1.0).to(kept)
                shares = weights * (kept * sign > 0)
                total = shares.sum(0)
                return start.add_((kept * shares).sum(0) / torch.where(total > 0, total, torch.ones_like(total)))

            return blockwise(base, members, combine)

        return from_base(of, rule, train_inputs(of, self.recalibrate))

    def _least_variance(self, base: Tensor, members: list[Tensor]) -> float:
        """The smallest variance that is selected, in a tensor."""
        if self.k == 1:
            return 0.0
        variance = torch.cat([tau.var(0, correction=0) for _, tau in blocks(base, members)])
        kept = int(self.k * int(variance.count_nonzero()))
        return float(variance.topk(kept).values[-1]) if kept else float("inf")


def _selected(tau: Tensor, least: float) -> Tensor:
    return tau * (tau.var(0, correction=0) >= least)
