"""Linear probing, then full fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt

from finefuse.types import NormPolicy, Space, Tuning
from finefuse_zoo.schemes.linear_probe import LinearProbe


@dataclass(frozen=True)
class LpFt:
    """Fit the head on frozen features, then train everything from there (Kumar et al. 2022, 2202.10054).

    The probe, which converges, counts as one half of the budget; full fine-tuning gets the other half. Checked: phase
    two starts from the probe's weights, and takes half the steps. `lr` and `norm` None are those that the recipe of the
    network has after a probe: those of `full`, but for convolutional networks of torchvision and timm 1e-4 and "eval",
    because larger rates, and statistics of the batch, undo the probe.
    """

    C: Annotated[float, Gt(0)] = 1.0
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy | None = None
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}}
    kinds: ClassVar[tuple[str, ...]] = ("classification", "regression")

    def tune(self, on: Tuning) -> None:
        """`linear-probe`, then `full` for half of the budget."""
        LinearProbe(C=self.C).tune(on)
        recipe = on.model.recipe
        groups = [{"params": on.model.parameters(), "lr": self.lr or recipe.lr_after_probe or recipe.lr}]
        norm = self.norm or recipe.norm_after_probe
        on.trainer.fit(on.model, groups, steps=on.trainer.budget // 2, norm=norm)
