"""DARE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Lt

from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._task_vectors import blocks, blockwise, elected, from_base, train_inputs, width

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Dare:
    """Drop each number of tau_m = theta_m - theta_0 with probability `p`, rescale the rest, merge (2311.03099).

    `rescale` "prob": by 1/(1 - p) (Yu et al. 2024); "l1": to keep the sum of magnitudes of every tensor. `then`
    "task-arithmetic" adds all of them times `scaling`; "ties" the `reduce` of those that have the sign of their sum,
    not trimmed again. `scaling` None is 0.3, and 1 for "ties". Which numbers are dropped depends on a member's place;
    one member is thinned too. `recalibrate` recomputes BatchNorm's statistics on the training inputs. Checked by
    replaying the masks; the "l1" scale against mergekit's; the mean over draws is tau.
    """

    p: Annotated[float, Ge(0), Lt(1)] = 0.5
    then: Literal["task-arithmetic", "ties"] = "task-arithmetic"
    scaling: Annotated[float, Ge(0)] | None = None
    rescale: Literal["prob", "l1"] = "prob"
    reduce: Literal["mean", "sum"] = "mean"
    recalibrate: bool = True
    space: ClassVar[Space] = {"scaling": {"low": 0.05, "high": 2.0}, "p": {"low": 0.1, "high": 0.95}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "base")
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members", "order")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        scaling = self.scaling if self.scaling is not None else {"task-arithmetic": 0.3, "ties": 1.0}[self.then]

        def rule(_: str, base: Tensor, members: list[Tensor]) -> Tensor:
            kept = torch.stack([torch.rand(base.numel(), generator=of.rng) >= self.p for _ in members])
            kept = kept.to(base.device)
            scale = self._scale(base, members, kept)[:, None]
            masks = iter(torch.split(kept, width(1 + len(members)), dim=1))

            def combine(start: Tensor, tau: Tensor) -> Tensor:
                tau.mul_(next(masks)).mul_(scale)
                return start.add_(tau.sum(0) if self.then != "ties" else elected(tau, self.reduce), alpha=scaling)

            return blockwise(base, members, combine)

        share = scaling if self.then == "ties" else scaling * len(of.members)
        return from_base(of, rule, train_inputs(of, self.recalibrate), min(1.0, share))

    def _scale(self, base: Tensor, members: list[Tensor], kept: Tensor) -> Tensor:
        """What the kept numbers of every member are multiplied by, (M,)."""
        if self.rescale == "prob":
            return torch.full((len(members),), 1 / (1 - self.p), dtype=torch.float64, device=base.device)
        parts = zip(blocks(base, members), torch.split(kept, width(1 + len(members)), dim=1), strict=True)
        sums = [torch.stack([tau.abs().sum(1), (tau.abs() * mask).sum(1)]) for (_, tau), mask in parts]
        before, after = torch.stack(sums).sum(0)
        return torch.where(after > 0, before / after, torch.ones_like(after))
