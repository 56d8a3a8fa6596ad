"""Feature maps held near the pretrained ones, with attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from finefuse.types import NormPolicy, Space, Tuning
from finefuse_zoo.schemes._feature_maps import channel_attention, near_loss
from finefuse_zoo.schemes._stage_outputs import stage_outputs


@dataclass(frozen=True)
class Delta:
    """L + strength/2 sum_stages sum_c a_c ||F_c(x) - F0_c(x)||^2 / positions (DELTA, Li et al. 2019, 1901.09229).

    The attention a, C times a softmax over the C channels of a stage, says how much the loss of a linear probe on the
    pretrained network rises when that channel is set to 0, on the first `examples` of the training data; where all
    channels matter alike it is `feature-map`. The paper's decay of the head is the recipe's. Apart from this it is
    `full`. Checked: the attention by brute force; equal attention is `feature-map`.
    """

    strength: Annotated[float, Ge(0)] = 1e-3
    examples: Annotated[int, Ge(1)] = 256
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {
        "lr": {"low": 1e-4, "high": 0.3, "log": True},
        "strength": {"low": 1e-5, "high": 1.0, "log": True},
    }
    kinds: ClassVar[tuple[str, ...]] = ("classification", "regression")

    def tune(self, on: Tuning) -> None:
        """The attention, then one call of the trainer with the distance added to its loss."""
        attention = channel_attention(on, self.examples)
        with stage_outputs(on.model) as maps:
            groups = [{"params": on.model.parameters(), "lr": self.lr or on.model.recipe.lr}]
            on.trainer.fit(on.model, groups, loss=near_loss(on, maps, self.strength, attention), norm=self.norm)
