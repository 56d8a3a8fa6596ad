"""Distillation of an ensemble."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Le

from finefuse import nets
from finefuse.types import Batch, Fusing, Law, Level, Loss, Member, Need, NormPolicy, Space
from finefuse_zoo._teachers import teacher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn


@dataclass(frozen=True)
class Distill:
    """One student, taught by the members' mean prediction (Hinton et al. 2015, 1503.02531).

    Once deployed, it costs as much as one model. The student starts where the members did and is trained for the whole
    budget on alpha CE(y, p) + (1 - alpha) T^2 KL(mean_m softmax(z_m / T) || softmax(z / T)); in regression on alpha
    MSE(y, z) + (1 - alpha) MSE(mean_m z_m, z). The members' outputs on the training inputs are computed once. A student
    differs from its teachers, even from a single one. For several tasks it has a head for each and learns each from its
    own members, in batches mixed of all their training data. Checked against `torch.nn.functional.kl_div`; `alpha = 1`
    has the bits of `full`.
    """

    T: Annotated[float, Gt(0)] = 2.0
    alpha: Annotated[float, Ge(0), Le(1)] = 0.1
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {
        "T": {"low": 1.0, "high": 10.0},
        "alpha": {"low": 0.0, "high": 1.0},
        "lr": {"low": 1e-4, "high": 0.3, "log": True},
    }
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("base", "train", "trainer")
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        net = student = copy.deepcopy(of.base)
        losses = [self._loss(of, members) for members in nets.by_task(of.members)]
        loss = losses[0]
        if len(losses) > 1:
            net, student, loss = nets.joint(net, of.members, losses)
        groups = [{"params": student.parameters(), "lr": self.lr or student.recipe.lr}]
        of.trainer.fit(student, groups, loss=loss, norm=self.norm)
        return net.eval()

    def _loss(self, of: Fusing, members: Sequence[Member]) -> Loss:
        """What a student of the members of one task minimises."""
        trainer, task, train = of.trainer, members[0].task, members[0].train

        def mean_of_members(x: Tensor) -> Tensor:
            outputs = torch.stack([trainer.outputs(member.net, x).double() for member in members])
            return task.taught(outputs, self.T).float()

        before = teacher(trainer, train, mean_of_members)

        def loss(outputs: Tensor, batch: Batch) -> Tensor:
            taught = task.teaching_loss(outputs, before(batch), self.T)
            return self.alpha * task.loss(outputs, batch.y) + (1 - self.alpha) * taught

        return loss
