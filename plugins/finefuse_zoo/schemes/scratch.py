"""No pretraining: what the pretrained weights are worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt

from finefuse import NotApplicable
from finefuse.types import NormPolicy, Space, Tuning


@dataclass(frozen=True)
class Scratch:
    """Forget the pretrained weights and train everything from random ones, drawn by every module's own initialisation.

    `lr` None uses the recipe's rate. A baseline: what pretraining is worth.
    """

    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}}

    def tune(self, on: Tuning) -> None:
        """Draw new weights, then one call of the trainer."""
        device = on.model.head.weight.device
        on.model.cpu()  # where the same numbers are drawn whatever the device
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=on.rng)))
            for name, module in on.model.named_modules():
                reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
                if reset is not None:
                    reset()
                elif next(module.parameters(recurse=False), None) is not None:
                    raise NotApplicable(f"{name} ({type(module).__name__}) has weights and no reset_parameters()")
        on.model.to(device)
        groups = [{"params": on.model.parameters(), "lr": self.lr or on.model.recipe.lr}]
        on.trainer.fit(on.model, groups, norm=self.norm)
