"""Batch spectral shrinkage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Gt

from finefuse.types import Batch, NormPolicy, Space, Tuning
from finefuse_zoo.schemes._stage_outputs import stage_outputs

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Bss:
    """L + eta sum of the k smallest squared singular values of the batch's features (Chen et al. 2019, NeurIPS).

    Batch spectral shrinkage suppresses what transfers badly. The features (batch, width) are what the head sees. Apart
    from this it is `full`. Checked against the formula.
    """

    k: Annotated[int, Ge(1)] = 1
    eta: Annotated[float, Ge(0)] = 1e-3
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {
        "lr": {"low": 1e-4, "high": 0.3, "log": True},
        "eta": {"low": 1e-4, "high": 0.1, "log": True},
    }

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, with the smallest singular values added to its loss."""

        def loss(outputs: Tensor, batch: Batch) -> Tensor:
            spectrum: Tensor = torch.linalg.svdvals(maps[-1].float())  # in descending order
            return on.task.loss(outputs, batch.y) + self.eta * spectrum[-self.k :].square().sum()

        with stage_outputs(on.model) as maps:
            groups = [{"params": on.model.parameters(), "lr": self.lr or on.model.recipe.lr}]
            on.trainer.fit(on.model, groups, loss=loss, norm=self.norm)
