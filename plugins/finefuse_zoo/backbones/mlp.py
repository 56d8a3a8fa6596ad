"""A small perceptron for tables."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from finefuse import NotApplicable, Ref, Task
from finefuse.types import Budget, Recipe, Tuning

if TYPE_CHECKING:
    from finefuse.nets import Net


@dataclass(frozen=True)
class MlpS:
    """Perceptron of three stages, pretrained on `diabetes-source`.

    Each stage is a linear layer of `width` units, LayerNorm (Ba et al. 2016, 1607.06450) and ReLU. LayerNorm, because
    tables to tune on are short: BatchNorm's statistics over a batch of a few rows are mostly noise, and over one row
    they don't exist. Takes rows (N, columns).
    """

    width: Annotated[int, Ge(2)] = 64
    source = Ref("diabetes-source")

    def fingerprint(self) -> str:
        """No weights are read."""
        return ""

    def budget(self) -> Budget:
        """Under a second on one core."""
        return Budget(epochs=30, batch_size=32)

    def build(self, task: Task) -> Net:
        """Weights as torch draws them.

        Raises:
            NotApplicable: if inputs are not rows of a table.
        """
        from torch import nn

        from finefuse.nets import Net

        if len(task.input_shape) != 1:
            raise NotApplicable(f"mlp-s takes rows of a table (columns,), not inputs of shape {task.input_shape}")
        widths = [task.input_shape[0], self.width, self.width, self.width]
        stages = [
            nn.Sequential(nn.Linear(inputs, outputs), nn.LayerNorm(outputs), nn.ReLU())
            for inputs, outputs in pairwise(widths)
        ]
        recipe = Recipe("adamw", lr=1e-3, weight_decay=0.01, lr_of_head=0.01)
        return Net(stages, nn.Linear(self.width, task.outputs), recipe)

    def tune(self, on: Tuning) -> None:
        """Pretrain all of it with AdamW."""
        on.trainer.fit(on.model, [{"params": on.model.parameters(), "lr": 1e-3}])
