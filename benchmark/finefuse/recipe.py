"""How a network is usually fine-tuned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Recipe:
    """The optimizer a backbone is usually fine-tuned with; schemes take it where their own fields are None."""

    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = 0.01
    weight_decay: float = 5e-4
    momentum: float = 0.9
