"""Fine-tuning on the task and on the source data at once."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Gt

from finefuse import NotApplicable, nets
from finefuse.types import Batch, NormPolicy, Space, Tuning
from finefuse_zoo.schemes._steps import dropout_kept

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class SourceReplay:
    """L_task + strength * L_source: every step also sees a batch of the data the backbone was pretrained on.

    The source head is kept, trained along at the same rate, and dropped at the end (joint training, as in Li & Hoiem
    2016, 1606.09282). L_source is the loss of the source's own task. Source
    batches have the size of the task's; they are normalised by their own statistics, and BatchNorm's running ones stay
    those of the task. Apart from this it is `full`. Checked: strength 0 is `full`, bit for bit; the step against the
    formula.
    """

    strength: Annotated[float, Ge(0)] = 0.5
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    needs: ClassVar[tuple[str, ...]] = ("source",)
    space: ClassVar[Space] = {
        "lr": {"low": 1e-4, "high": 0.3, "log": True},
        "strength": {"low": 0.05, "high": 5.0, "log": True},
    }

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, with the source loss as the penalty."""
        if on.source is None or on.source_task is None:
            raise NotApplicable("there is no source data to replay")
        source, y, loss = on.source, on.source.y, on.source_task.loss
        head = copy.deepcopy(on.pretrained.head)

        def penalty(model: nn.Module, _: Batch) -> Tensor:
            rows = nets.uploaded(torch.randint(len(y), (on.trainer.batch_size,), generator=on.rng), y.device)
            with nets.statistics_kept(model), dropout_kept(y.device):
                outputs = head(on.model.features(source.inputs(rows)))
            return self.strength * loss(outputs.float(), y[rows])

        parameters = [*on.model.parameters(), *head.parameters()]
        groups = [{"params": parameters, "lr": self.lr or on.model.recipe.lr}]
        on.trainer.fit(on.model, groups, penalty=penalty, norm=self.norm)
