"""Learning without forgetting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Gt

from finefuse.types import Batch, NormPolicy, Space, Tuning
from finefuse_zoo._teachers import teacher
from finefuse_zoo.schemes._second_head import source_head
from finefuse_zoo.schemes._stage_outputs import stage_outputs

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Lwf:
    """CE + strength * KL(softmax(y_s / T) || softmax(z_s / T)) (LwF, Li & Hoiem 2016, 1606.09282).

    y_s are the source head's logits on the training inputs, recorded before tuning; z_s are those it gives now. The
    source head is trained along and dropped at the end. The divergence is not multiplied by T^2. Apart from this it is
    `full`. Classification only. For use without source data. Checked as `source-replay`.
    """

    strength: Annotated[float, Ge(0)] = 4.0
    T: Annotated[float, Gt(0)] = 3.0
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    needs: ClassVar[tuple[str, ...]] = ("source head",)
    space: ClassVar[Space] = {
        "lr": {"low": 1e-4, "high": 0.3, "log": True},
        "strength": {"low": 0.1, "high": 10.0, "log": True},
    }
    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, with the divergence added to its loss."""
        functional, head = torch.nn.functional, source_head(on)
        before = teacher(on.trainer, on.train, lambda x: (on.trainer.outputs(on.pretrained, x) / self.T).softmax(-1))

        def loss(outputs: Tensor, batch: Batch) -> Tensor:
            now = (head(features[-1]).float() / self.T).log_softmax(-1)
            distilled = functional.kl_div(now, before(batch), reduction="batchmean")
            return functional.cross_entropy(outputs, batch.y) + self.strength * distilled

        parameters = [*on.model.parameters(), *head.parameters()]
        with stage_outputs(on.model) as features:
            groups = [{"params": parameters, "lr": self.lr or on.model.recipe.lr}]
            on.trainer.fit(on.model, groups, loss=loss, norm=self.norm)
