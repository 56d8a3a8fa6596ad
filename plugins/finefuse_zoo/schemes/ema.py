"""Exponential moving average of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Lt

from finefuse import nets
from finefuse.types import NormPolicy, Space, Tuning


@dataclass(frozen=True)
class Ema:
    """avg <- decay * avg + (1 - decay) * w after every step, from the first on; the tuned network is the average.

    Polyak & Juditsky 1992 (doi 10.1137/0330046), with the weights of torch's AveragedModel. The average looks back over
    about 1 / (1 - decay) steps. BatchNorm's statistics, where `norm` lets them change, are renewed from the training
    inputs. Apart from this it is `full`. Checked against the weights after every step.
    """

    decay: Annotated[float, Ge(0), Lt(1)] = 0.9
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}, "decay": {"low": 0.5, "high": 0.99}}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, and the average in place of the last weights."""
        swa = torch.optim.swa_utils
        mean = swa.get_ema_multi_avg_fn(self.decay)  # type: ignore[no-untyped-call]
        average = swa.AveragedModel(on.model, multi_avg_fn=mean)
        groups = [{"params": on.model.parameters(), "lr": self.lr or on.model.recipe.lr}]
        on.trainer.fit(on.model, groups, after_step=lambda _: average.update_parameters(on.model), norm=self.norm)
        if self.decay:  # else it is the last weights, whose statistics are right
            on.model.load_state_dict(average.module.state_dict())
            if self.norm == "train":
                nets.recalibrate(on.model, on.train.x)
