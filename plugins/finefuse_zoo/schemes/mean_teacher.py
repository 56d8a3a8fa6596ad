"""Mean teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Lt

from finefuse.types import Batch, NormPolicy, Space, Tuning

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MeanTeacher:
    """L + strength * mean((answer - teacher's answer)^2), the teacher an average of weights (1703.01780).

    Tarvainen & Valpola 2017, on labelled examples. The teacher is w after the first step, and after every other one
    decay * teacher + (1 - decay) * w, its running statistics too; the tuned network is the teacher. An answer is the
    probabilities, or the values in regression. The teacher sees what the student sees, so without augmentation and
    dropout only the average pulls. `strength` 0 is the average of `full`. Checked against a bare loop.
    """

    strength: Annotated[float, Ge(0)] = 1.0
    decay: Annotated[float, Ge(0), Lt(1)] = 0.9
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {
        "lr": {"low": 1e-4, "high": 0.3, "log": True},
        "strength": {"low": 0.1, "high": 100.0, "log": True},
    }

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, and the teacher in place of the student."""
        swa = torch.optim.swa_utils
        mean = swa.get_ema_multi_avg_fn(self.decay)  # type: ignore[no-untyped-call]
        teacher = swa.AveragedModel(on.model, multi_avg_fn=mean, use_buffers=True).eval()

        def answer(outputs: Tensor) -> Tensor:
            return outputs.softmax(-1) if on.task.classes else outputs

        def loss(outputs: Tensor, batch: Batch) -> Tensor:
            with torch.no_grad():
                wanted = answer(teacher(batch.x).float())
            return on.task.loss(outputs, batch.y) + self.strength * (answer(outputs) - wanted).square().mean()

        def follow(_: torch.optim.Optimizer) -> None:
            teacher.update_parameters(on.model)

        groups = [{"params": on.model.parameters(), "lr": self.lr or on.model.recipe.lr}]
        on.trainer.fit(on.model, groups, loss=loss, after_step=follow, norm=self.norm)
        on.model.load_state_dict(teacher.module.state_dict())
