"""Mixout."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt, Lt

from finefuse import NotApplicable
from finefuse.types import NormPolicy, Space, Tuning

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Mixout:
    """w0 + dropout(w - w0, p) in the place of w in every training step (Lee et al. 2020, 1909.11299).

    Each number of a weight w is put back to its pretrained value w0 with probability `p`, and what is left of the
    change is divided by 1 - p. Weights of linear and convolutional layers of the stages, drawn anew in every step; the
    tuned network is w. `p` 0 is `full`. Checked against the paper's formula, (mask w0 + (1 - mask) w - p w0) / (1 - p).
    """

    p: Annotated[float, Ge(0), Lt(1)] = 0.7
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}, "p": {"low": 0.1, "high": 0.9}}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, with another way forward through the layers."""
        nn = torch.nn
        layers = [one for one in on.model.stages.modules() if type(one) in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)]
        if not layers:
            raise NotApplicable("the stages have no linear or convolutional layer")
        with ExitStack() as given_back:
            for layer in layers:
                given_back.callback(delattr, layer, "forward")
                vars(layer)["forward"] = mixed(layer, self.p)
            groups = [{"params": on.model.parameters(), "lr": self.lr or on.model.recipe.lr}]
            on.trainer.fit(on.model, groups, norm=self.norm)


def mixed(layer: Any, p: float) -> Callable[[Tensor], Tensor]:
    """The forward pass of a layer, with part of its weight as it was where the layer trains."""
    plain, start = layer.forward, layer.weight.detach().clone()
    linear = isinstance(layer, torch.nn.Linear)

    def forward(x: Tensor) -> Tensor:
        if not layer.training or p == 0:
            return plain(x)  # type: ignore[no-any-return]
        weight = start + torch.nn.functional.dropout(layer.weight - start, p)
        through = torch.nn.functional.linear if linear else layer._conv_forward
        return through(x, weight, layer.bias)

    return forward
