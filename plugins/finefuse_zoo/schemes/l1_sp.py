"""L1-SP: a penalty that keeps most weights at their pretrained values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Gt

from finefuse.types import Batch, NormPolicy, Space, Tuning
from finefuse_zoo.schemes._penalties import half_square, proximal_step, starting_points

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class L1Sp:
    """Train everything on L + alpha ||w_S - w0||_1 + beta/2 ||w_head||_2^2 (Li et al. 2018, 1802.01483).

    w_S are all parameters of the backbone, w0 their pretrained values. The 1-norm acts by a proximal step after every
    step, w <- w0 + S(w - w0, s alpha) with S the soft threshold and s the size of the step, so weights return to w0
    exactly. In place of the recipe's weight decay. `lr` None uses the recipe's rate. Checked on a linear model against
    the lasso on the residual.
    """

    alpha: Annotated[float, Ge(0)] = 1e-4
    beta: Annotated[float, Ge(0)] = 0.01
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {
        "lr": {"low": 1e-4, "high": 0.3, "log": True},
        "alpha": {"low": 1e-6, "high": 0.01, "log": True},
    }

    def tune(self, on: Tuning) -> None:
        """One call of the trainer."""
        head = list(on.model.head.parameters())

        def penalty(_model: nn.Module, _batch: Batch) -> Tensor:
            return self.beta * half_square(head)

        groups = [{"params": on.model.parameters(), "lr": self.lr or on.model.recipe.lr, "weight_decay": 0.0}]
        shrink = proximal_step(self.alpha, starting_points(on))
        on.trainer.fit(on.model, groups, penalty=penalty, after_step=shrink, norm=self.norm)
