"""BitFit: biases alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt

from finefuse import NotApplicable
from finefuse.types import Space, Tuning


@dataclass(frozen=True)
class BitFit:
    """Train the biases, the shifts of norm layers among them, and the head (Ben Zaken et al. 2022, 2106.10199).

    Everything else stays as it is, including the statistics of BatchNorm. `lr` None uses ten times the recipe's rate
    under Adam, as in the paper; under SGD, which diverges at that, the recipe's rate itself.
    """

    lr: Annotated[float, Gt(0)] | None = None
    space: ClassVar[Space] = {"lr": {"low": 1e-3, "high": 1.0, "log": True}}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer."""
        biases = [p for name, p in on.model.stages.named_parameters() if name.endswith("bias")]
        if not biases:
            raise NotApplicable("the backbone has no biases")
        groups = [{"params": [*biases, *on.model.head.parameters()], "lr": self.lr or on.model.recipe.lr_of_few}]
        on.trainer.fit(on.model, groups, norm="affine")
