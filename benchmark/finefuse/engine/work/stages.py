"""The stages that follow a fusion: each changes the network that was fused, with the data that it declares."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from finefuse.discovery import capabilities
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.engine.work.workbench import Workbench
from finefuse.errors import NotApplicable, PluginError
from finefuse.nets import ManyHeads, Net
from finefuse.rows import told
from finefuse.types import Follows, Fusing, Ref


@dataclass(frozen=True)
class Stage:
    """A stage, its bench, and all that it may use."""

    ref: Ref
    plugin: Follows
    bench: Workbench
    of: Fusing

    def after(self, net: nn.Module) -> Net:
        """What it makes of a network.

        Raises:
            PluginError: if that is no network, or not for as many tasks.
        """
        made = self.plugin.follow(net, self.of)  # type: ignore[arg-type]
        wanted = ManyHeads if isinstance(net, ManyHeads) else Net
        if not isinstance(made, wanted):
            raise PluginError(f"the stage {self.ref.name} gives a {wanted.__name__}, and this time gave {told(made)}")
        return made


def stages_of(bench: Workbench, fusing: Callable[[Workbench], Fusing]) -> list[Stage]:
    """The stages of a job, ready to run: `fusing` makes what a fusion may use. Each has a trainer of its own."""
    job = bench.order.job
    found = []
    for i, ref in enumerate(job.followed_by):
        one = replace(job, strategy=ref, search=None, trials=(), timed="", followed_by=())
        own = Workbench(replace(bench.order, job=one), bench.effort)
        plugin = own.strategy("fusion")
        if not capabilities.follows(plugin):
            raise PluginError(f"{ref.name} is no stage: it has no `follow`")
        of = replace(fusing(own), rng=own.rng("fusion", stage=i, **own.run_axes))
        found.append(Stage(ref, plugin, own, of))
    return found


def after_all(fused: nn.Module, stages: list[Stage]) -> nn.Module:
    """What all stages make of what was fused, one after the other; the members keep their tensors.

    Raises:
        NotApplicable: if it is not one network.
    """
    if not stages:
        return fused
    if not isinstance(fused, Net):
        raise NotApplicable(f"{stages[0].ref.name} follows one network, and this is a {type(fused).__name__}")
    net: Net = copy.deepcopy(fused).eval()
    for stage in stages:
        net = stage.after(net)
    return net.eval()


def require_budgets_kept(bench: Workbench, of: Fusing, stages: list[Stage]) -> None:
    """Refuse more steps than the budgets of a fusion and its stages hold, and they declare for loops of their own.

    Raises:
        BudgetError: in one sentence.
    """
    lent = trainers(bench, stages)
    pairs = [(bench.strategy("fusion"), of), *((stage.plugin, stage.of) for stage in stages)]
    declared = sum(capabilities.own_gradients(plugin, given) for plugin, given in pairs)
    bench.effort.require_within(sum(one.budget for one in lent), sum(one.spent for one in lent), declared)


def trainers(bench: Workbench, stages: list[Stage]) -> list[SuiteTrainer]:
    """The trainer of a job's fusion, and those of its stages."""
    return [bench.fusion_trainer, *(stage.bench.fusion_trainer for stage in stages)]
