"""L2-SP: a penalty on the distance from the pretrained weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Gt

from finefuse.types import Batch, NormPolicy, Space, Tuning
from finefuse_zoo.schemes._penalties import half_square, starting_points

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class L2Sp:
    """Train everything on L + alpha/2 ||w_S - w0||_2^2 + beta/2 ||w_head||_2^2 (Li et al. 2018, 1802.01483).

    w_S are all parameters of the backbone, w0 their pretrained values. In place of the recipe's weight decay. `lr` None
    uses the recipe's rate. Some code leaves out the halves; here they are kept. Checked on a linear model against ridge
    regression on the residual.
    """

    alpha: Annotated[float, Ge(0)] = 0.01
    beta: Annotated[float, Ge(0)] = 0.01
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {
        "lr": {"low": 1e-4, "high": 0.3, "log": True},
        "alpha": {"low": 1e-4, "high": 1.0, "log": True},
    }

    def tune(self, on: Tuning) -> None:
        """One call of the trainer."""
        start, head = starting_points(on), list(on.model.head.parameters())

        def penalty(_model: nn.Module, _batch: Batch) -> Tensor:
            return self.alpha * half_square(p - w0 for p, w0 in start.items()) + self.beta * half_square(head)

        groups = [{"params": on.model.parameters(), "lr": self.lr or on.model.recipe.lr, "weight_decay": 0.0}]
        on.trainer.fit(on.model, groups, penalty=penalty, norm=self.norm)
