"""The behavioural regulariser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from finefuse.types import NormPolicy, Space, Tuning
from finefuse_zoo.schemes._feature_maps import near_loss
from finefuse_zoo.schemes._stage_outputs import stage_outputs


@dataclass(frozen=True)
class FeatureMap:
    """L + strength/2 sum_stages ||F(x) - F0(x)||^2 / positions: feature maps stay near the pretrained ones.

    Squared distances are summed over stages and channels, and averaged over positions and examples: `delta` without
    attention (Li et al. 2019, 1901.09229). F0 is the pretrained network in evaluation mode. Apart from this it is
    `full`. Checked against plain loops.
    """

    strength: Annotated[float, Ge(0)] = 1e-3
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {
        "lr": {"low": 1e-4, "high": 0.3, "log": True},
        "strength": {"low": 1e-5, "high": 1.0, "log": True},
    }

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, with the distance added to its loss."""
        with stage_outputs(on.model) as maps:
            groups = [{"params": on.model.parameters(), "lr": self.lr or on.model.recipe.lr}]
            on.trainer.fit(on.model, groups, loss=near_loss(on, maps, self.strength), norm=self.norm)
