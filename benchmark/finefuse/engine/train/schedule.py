"""How the learning rate changes within one call of the trainer."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def scheduled(optimizer: Optimizer, kind: str, steps: int) -> LambdaLR:
    """A schedule of so many steps: "constant", or "cosine", which falls to 0."""
    if kind == "constant":
        return LambdaLR(optimizer, lambda _: 1.0)
    return LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps)))
