"""Sharpness-aware minimisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Gt

from finefuse import nets
from finefuse.types import NormPolicy, Space, Tuning
from finefuse_zoo.schemes._steps import Gradients, dropout_kept, stepping_by

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


@dataclass(frozen=True)
class Sam:
    """Steps by the gradient at w + rho g / ||g||, g the gradient at w (Foret et al. 2020, 2010.01412).

    Two gradients a step: half the steps that `full` has, and as many checkpoints. Both see the same batch and the same
    dropout; BatchNorm's running statistics are renewed at w only. Apart from this it is `full`. Sharpness-aware
    minimisation. Checked against the formula.
    """

    rho: Annotated[float, Ge(0)] = 0.05
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {
        "lr": {"low": 1e-4, "high": 0.3, "log": True},
        "rho": {"low": 0.01, "high": 0.5, "log": True},
    }

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, whose optimizer climbs before it steps."""

        def two_gradients(optimizer: Optimizer, gradients: Gradients) -> Tensor:
            with dropout_kept(on.train.y.device):
                loss = gradients()
            trained = [p for group in optimizer.param_groups for p in group["params"]]
            with climbed(trained, self.rho), nets.statistics_kept(on.model):
                gradients()
            return loss

        recipe = on.model.recipe
        groups = [{"params": on.model.parameters(), "lr": self.lr or recipe.lr}]
        optimizer, steps = stepping_by(two_gradients, recipe), on.trainer.budget // 2
        on.trainer.fit(on.model, groups, steps=steps, optimizer=optimizer, norm=self.norm)


@contextmanager
def climbed(parameters: Sequence[Tensor], rho: float) -> Iterator[None]:
    """Inside, the parameters are moved by rho along their gradient; afterwards they have their old bits again."""
    before = [p.detach().clone() for p in parameters]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    reach = rho / torch.nn.utils.get_total_norm(gradients).clamp_min(1e-12)
    with torch.no_grad():
        for p, gradient in zip(parameters, gradients, strict=True):
            p.add_(reach * gradient)
    yield
    with torch.no_grad():
        for p, old in zip(parameters, before, strict=True):
            p.copy_(old)
