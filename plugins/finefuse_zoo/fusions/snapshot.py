"""Snapshot ensembles."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Gt

from finefuse import NotApplicable, nets
from finefuse.types import Fusing, Level, Need, Space
from finefuse_zoo.fusions._rates import cosine, with_rates

if TYPE_CHECKING:
    import torch
    from torch import nn

    from finefuse.nets import Net


@dataclass(frozen=True)
class Snapshot:
    """Snapshots of one run, at the ends of as many cycles as the pool has members (Huang et al. 2017, 1704.00109).

    One run from where the members started, for the whole budget. In every cycle the rate falls by half a cosine from
    `lr` towards 0, whatever the suite's schedule; cycles differ by a step at most in length. The snapshots'
    probabilities are averaged, in regression their values. The pool's members take no part. It costs one run in
    training, and an ensemble at work. Checked against a plain loop.
    """

    lr: Annotated[float, Gt(0)] | None = None
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}}
    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ("base", "trainer")
    alone: ClassVar[bool] = True

    def fuse(self, of: Fusing) -> nn.Module:
        """An ensemble of snapshots."""
        net, budget, cycles = copy.deepcopy(of.base), of.trainer.budget, len(of.members)
        if budget < cycles:
            raise NotApplicable(f"a budget of {budget} steps has no room for {cycles} cycles")
        lengths = [budget * (i + 1) // cycles - budget * i // cycles for i in range(cycles)]
        rates = [cosine(step / n, self.lr or net.recipe.lr) for n in lengths for step in range(n)]
        last = [step == n - 1 for n in lengths for step in range(n)]
        snapshots: list[Net] = []

        def keep(_: torch.optim.Optimizer) -> None:
            if last.pop(0):
                snapshots.append(copy.deepcopy(net).eval())

        groups = [{"params": net.parameters()}]
        of.trainer.fit(net, groups, optimizer=with_rates(net.recipe, rates.__getitem__), after_step=keep)
        return nets.CombineOutputs(snapshots, of.task.averaged)
