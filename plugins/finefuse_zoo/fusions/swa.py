"""Stochastic weight averaging."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Lt

from finefuse import nets
from finefuse.types import Fusing, Level, Need, Space
from finefuse_zoo.fusions._rates import cosine, with_rates

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Swa:
    """The mean of the weights along the end of one run, after every step (SWA, Izmailov et al. 2018, arXiv 1803.05407).

    One run from where the members started, for the whole budget. Over the first `start` of the steps the rate falls by
    half a cosine from `lr` to `swa_lr` (None: half of it), over the rest it stays there, whatever the suite's schedule,
    and the weights are averaged. BatchNorm's statistics are recomputed on the training inputs. The pool's members take
    no part. Checked against `torch.optim.swa_utils`.
    """

    start: Annotated[float, Ge(0), Lt(1)] = 2 / 3
    lr: Annotated[float, Gt(0)] | None = None
    swa_lr: Annotated[float, Gt(0)] | None = None
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}, "start": {"low": 0.1, "high": 0.9}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("base", "train", "trainer")
    alone: ClassVar[bool] = True

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        net = copy.deepcopy(of.base)
        lr = self.lr or net.recipe.lr
        low, first = self.swa_lr or lr / 2, min(round(self.start * of.trainer.budget), of.trainer.budget - 1)
        sums, steps = [torch.zeros_like(p, dtype=torch.float64) for p in net.parameters()], 0

        def add(_: torch.optim.Optimizer) -> None:
            nonlocal steps
            steps += 1
            if steps > first:
                for total, p in zip(sums, net.parameters(), strict=True):
                    total += p.detach()

        optimizer = with_rates(net.recipe, lambda step: cosine(min(1.0, step / max(1, first)), lr, low))
        of.trainer.fit(net, [{"params": net.parameters()}], optimizer=optimizer, after_step=add)
        with torch.no_grad():
            for p, total in zip(net.parameters(), sums, strict=True):
                p.copy_(total / (steps - first))
        nets.recalibrate(net, of.train.x)
        return net.eval()
