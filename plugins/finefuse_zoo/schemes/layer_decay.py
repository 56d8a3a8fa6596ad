"""Layer-wise decay of the learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Gt, Le

from finefuse.types import NormPolicy, Space, Tuning
from finefuse_zoo.schemes._stages import parts_of

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LayerDecay:
    """Train everything at lr_i = lr max(min_scale, decay^(L-1-i)), the head being the last of L levels.

    As BEiT is fine-tuned (Bao et al. 2022, 2106.08254). Each stage is a level, but one without a matrix or kernel (a
    last norm) is on that of the stage before it. Biases, scales and shifts (at most one dimension), and tokens,
    positions and tables of biases (their names don't end in "weight") have no weight decay. `lr` None uses the recipe's
    rate. On timm's ViT these are, for every parameter, the rates and decays of timm's `param_groups_layer_decay` with
    the model's own `no_weight_decay()`; a norm behind the pooling (`fc_norm`) is on the head's level there, and in
    other families timm has a level for every block, not stage. A network with a single stage is refused.
    """

    lr: Annotated[float, Gt(0)] | None = None
    decay: Annotated[float, Gt(0), Le(1)] = 0.75
    min_scale: Annotated[float, Ge(0), Le(1)] = 0.0
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}, "decay": {"low": 0.4, "high": 1.0}}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, with two groups per stage."""
        parts, groups = parts_of(on.model, "layer-decay"), []
        levels = levels_of(parts)
        for part, level in zip(parts, levels, strict=True):
            rate = (self.lr or on.model.recipe.lr) * max(self.min_scale, self.decay ** (levels[-1] - level))
            decayed = [p for name, p in part.named_parameters() if p.ndim > 1 and name.endswith("weight")]
            known = set(map(id, decayed))
            groups.append({"params": decayed, "lr": rate})
            rest = [p for p in part.parameters() if id(p) not in known]
            groups.append({"params": rest, "lr": rate, "weight_decay": 0.0})
        on.trainer.fit(on.model, groups, norm=self.norm)


def levels_of(parts: Sequence[nn.Module]) -> list[int]:
    """The level of each part, from 0; parts without a matrix or kernel are on the level of the one before."""
    rises = [any(p.ndim > 1 for p in part.parameters()) for part in parts]
    return [max(level, 0) for level in accumulate(rises, initial=-1)][1:]
