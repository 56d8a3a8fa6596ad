"""DELLA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Lt

from finefuse import NotApplicable
from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._task_vectors import elected, from_base, train_inputs

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Della:
    """Drop small changes more often than large ones, rescale the rest, elect signs, merge (Deep et al. 2024).

    2406.11617. In every row of tau_m = theta_m - theta_0, one for each output, a number of rank r (0 the smallest of n)
    is dropped with probability q = `p` + `width` / 2 - `width` r / (n - 1), else divided by 1 - q. theta = theta_0 +
    `scaling` times the `reduce` of those that have the sign of their sum. Tensors with one dimension are one row. Which
    numbers are dropped depends on a member's place; one member is thinned too. `recalibrate` recomputes BatchNorm's
    statistics on the training inputs. mergekit's epsilon is half of `width`, and it rescales by the sum of magnitudes.
    Checked by replaying the draws, the probabilities against mergekit's; the mean over draws is tau. `width` 0 is
    `dare` with "ties".
    """

    p: Annotated[float, Gt(0), Lt(1)] = 0.5
    width: Annotated[float, Ge(0), Lt(1)] = 0.2
    scaling: Annotated[float, Ge(0)] = 1.1
    reduce: Literal["mean", "sum"] = "mean"
    recalibrate: bool = True
    space: ClassVar[Space] = {"scaling": {"low": 0.1, "high": 2.0}, "p": {"low": 0.15, "high": 0.85}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("train", "base")
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members", "order")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        if not self.width / 2 < min(self.p, 1 - self.p):
            raise NotApplicable(f"p = {self.p:g} and width = {self.width:g} give probabilities outside of (0, 1)")

        def rule(_: str, base: Tensor, members: list[Tensor]) -> Tensor:
            thinned = torch.stack([self._thinned(member.double() - base.double(), of.rng) for member in members])
            return (base.double() + self.scaling * elected(thinned, self.reduce).view(base.shape)).to(base.dtype)

        return from_base(of, rule, train_inputs(of, self.recalibrate), min(1.0, self.scaling))

    def _thinned(self, tau: Tensor, rng: torch.Generator) -> Tensor:
        """One change, flat, with what is left of it."""
        stays = self._stays(tau.flatten(1) if tau.ndim > 1 else tau.view(1, -1)).flatten()
        drawn = torch.rand(tau.numel(), generator=rng, dtype=torch.float64).to(tau.device)
        return tau.flatten() / stays * (drawn < stays)

    def _stays(self, rows: Tensor) -> Tensor:
        """The probability of every number to be kept, (rows, n)."""
        n = rows.shape[1]
        ranks = rows.abs().argsort(dim=1, stable=True).argsort(dim=1).double()
        share = ranks / (n - 1) if n > 1 else torch.full_like(ranks, 0.5)
        return 1 - self.p - self.width / 2 + self.width * share
