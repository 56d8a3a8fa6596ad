"""The elastic net on all weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Gt

from finefuse.types import Batch, NormPolicy, Space, Tuning
from finefuse_zoo.schemes._penalties import half_square, proximal_step, weights_of

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Elastic:
    """Train everything on L + l1 ||w||_1 + l2/2 ||w||_2^2 (Zou & Hastie 2005, doi 10.1111/j.1467-9868.2005.00503.x).

    Over all weights w but biases and the scale and shift of norm layers, in place of the recipe's weight decay. The
    1-norm acts by a proximal step after every step, w <- sign(w) max(|w| - s l1, 0) with s the size of the step, so
    weights become exactly zero. `lr` None uses the recipe's rate. Checked against scikit-learn's `LogisticRegression`
    where only the head trains.
    """

    l1: Annotated[float, Ge(0)] = 1e-4
    l2: Annotated[float, Ge(0)] = 1e-4
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {
        "lr": {"low": 1e-4, "high": 0.3, "log": True},
        "l1": {"low": 1e-6, "high": 0.01, "log": True},
        "l2": {"low": 1e-6, "high": 0.1, "log": True},
    }

    def tune(self, on: Tuning) -> None:
        """One call of the trainer."""

        def penalty(model: nn.Module, _: Batch) -> Tensor:
            return self.l2 * half_square(weights_of(model))

        groups = [{"params": on.model.parameters(), "lr": self.lr or on.model.recipe.lr, "weight_decay": 0.0}]
        shrink = proximal_step(self.l1, dict.fromkeys(weights_of(on.model), 0.0))
        on.trainer.fit(
            on.model,
            groups,
            penalty=penalty if self.l2 else None,
            after_step=shrink if self.l1 else None,
            norm=self.norm,
        )
