"""A perceptron for tables of any width."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from finefuse import NotApplicable, Task
from finefuse.types import Recipe
from finefuse_zoo.backbones._sourced import Sourced

if TYPE_CHECKING:
    from finefuse.nets import Net


@dataclass(frozen=True)
class Mlp(Sourced):
    """Perceptron of `depth` stages: a linear layer of `width` units, LayerNorm (Ba et al. 2016, 1607.06450) and ReLU.

    Takes rows (N, columns). With `pretrained_on`, such as `{ use = "csv", train = "source.csv", target = "price" }`, it
    is pretrained on that data set, which has as many columns, for `pretrain_epochs` with AdamW at `pretrain_lr`.
    """

    width: Annotated[int, Ge(2)] = 64
    depth: Annotated[int, Ge(1)] = 3

    def build(self, task: Task) -> Net:
        """Weights as torch draws them.

        Raises:
            NotApplicable: if inputs are not rows of a table.
        """
        from torch import nn

        from finefuse.nets import Net

        if task.modality != "tabular" or len(task.input_shape) != 1:
            what = f"{task.modality} inputs of shape {task.input_shape}"
            raise NotApplicable(f"mlp-table takes rows of a table (columns,), not {what}")
        widths = [task.input_shape[0], *[self.width] * self.depth]
        stages = [
            nn.Sequential(nn.Linear(inputs, outputs), nn.LayerNorm(outputs), nn.ReLU())
            for inputs, outputs in pairwise(widths)
        ]
        recipe = Recipe("adamw", lr=1e-3, weight_decay=0.01, lr_of_head=0.01)
        return Net(stages, nn.Linear(self.width, task.outputs), recipe)
