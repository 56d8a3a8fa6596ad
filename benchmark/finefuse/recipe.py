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
    lr_after_probe: float | None = None
    """The rate of training that starts from a head fitted on frozen features; None for `lr`."""
    norm_after_probe: Literal["train", "affine", "eval"] = "train"
    """What BatchNorm does there: by the batch's statistics the head sees other features than it was fitted on."""
    lr_of_adapters: float | None = None
    """The rate of low-rank adapters in a network whose statistics stay as they are; None for `lr`."""
    lr_of_head: float = 1e-3
    """The rate of Adam for a fresh head on features that stay as they are."""

    @property
    def lr_of_few(self) -> float:
        """The rate where few numbers train in a frozen network: ten times `lr` under Adam (2106.10199).

        SGD diverges at that and keeps `lr`.
        """
        return self.lr * (10 if self.optimizer in ("adam", "adamw") else 1)
