"""A frozen backbone with a head trained by gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Gt

from finefuse.types import Space, Tuning


@dataclass(frozen=True)
class HeadSgd:
    """Freeze the backbone and train a new head by Adam or SGD: the usual recipe of transfer-learning tutorials.

    `lr` None takes the recipe's rate for heads, 1e-3 unless a backbone says otherwise. The features are computed once.
    Checked: every frozen tensor and buffer keeps its bits.
    """

    lr: Annotated[float, Gt(0)] | None = None
    optimizer: Literal["adam", "sgd"] = "adam"
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 1.0, "log": True}}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer; it evaluates the frozen backbone once and trains on its features."""
        lr = self.lr or on.model.recipe.lr_of_head
        on.trainer.fit(
            on.model, [{"params": on.model.head.parameters(), "lr": lr}], optimizer=self.optimizer, norm="eval"
        )
