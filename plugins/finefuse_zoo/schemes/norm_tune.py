"""Tuning of norm layers alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt

from finefuse import NotApplicable, nets
from finefuse.types import Space, Tuning


@dataclass(frozen=True)
class NormTune:
    """Train scale and shift of BatchNorm, LayerNorm and GroupNorm, and the head (Frankle et al. 2021, 2003.00152).

    Everything else stays as it is, including the statistics of BatchNorm. `lr` None as in `bitfit`.
    """

    lr: Annotated[float, Gt(0)] | None = None
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer."""
        kinds = (nets.BatchNorm, torch.nn.LayerNorm, torch.nn.GroupNorm)
        layers = [module for module in on.model.stages.modules() if isinstance(module, kinds)]
        affine = [p for layer in layers for p in layer.parameters()]
        if not affine:
            raise NotApplicable("the backbone has no norm layers with a scale and a shift")
        params = [*affine, *on.model.head.parameters()]
        on.trainer.fit(on.model, [{"params": params, "lr": self.lr or on.model.recipe.lr_of_few}], norm="affine")
