"""Training on all tasks at once."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Gt

from finefuse import nets
from finefuse.types import Fusing, Level, Need, NormPolicy, Space

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class JointTraining:
    """One body with a head for each task, trained on all of them together (Caruana 1997, multitask learning).

    doi 10.1023/A:1007379606734. It starts where the members did, trains everything, and has the suite's epochs over the
    training data of all tasks, mixed in every batch; the loss is the mean over examples of the losses of their tasks.
    The members take no part, so it is what merging would like to reach: a bound with a bill of its own. BatchNorm's
    statistics are those of the training. For members of one task it is `full`. Checked against a plain loop.
    """

    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("base", "train", "trainer")
    alone: ClassVar[bool] = True
    many_tasks: ClassVar[bool] = True

    def fuse(self, of: Fusing) -> nn.Module:
        """One network, with a head for each task."""
        net = model = copy.deepcopy(of.base)
        loss = None
        if not nets.share_a_task(of.members):
            net, model, loss = nets.joint(net, of.members)
        groups = [{"params": model.parameters(), "lr": self.lr or net.recipe.lr}]
        of.trainer.fit(model, groups, loss=loss, norm=self.norm)
        return net.eval()
