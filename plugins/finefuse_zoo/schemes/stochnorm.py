"""Stochastic normalisation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Le

from finefuse import NotApplicable, nets
from finefuse.types import Space, Tuning

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class StochNorm:
    """(1 - s) (x - m_run) / std_run + s (x - m_batch) / std_batch, s ~ Bernoulli(p) (Kou et al. 2020, NeurIPS).

    In training every channel of every BatchNorm layer is normalised either by the batch or by the running statistics,
    drawn again in every step; scale and shift are trained and the running statistics updated as usual. The tuned
    network has its plain BatchNorm back. p = 1 is `full`.
    """

    p: Annotated[float, Ge(0), Le(1)] = 0.5
    lr: Annotated[float, Gt(0)] | None = None
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}, "p": {"low": 0.0, "high": 1.0}}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, with another way forward through the BatchNorm layers."""
        layers = list(nets.norm_layers(on.model))
        if not layers:
            raise NotApplicable("the network has no BatchNorm")
        if any(layer.running_mean is None for layer in layers):
            raise NotApplicable("a BatchNorm layer of the network keeps no running statistics")
        with ExitStack() as given_back:
            for layer in layers:
                given_back.callback(delattr, layer, "forward")
                vars(layer)["forward"] = stochastic(layer, self.p, on.rng)
            groups = [{"params": on.model.parameters(), "lr": self.lr or on.model.recipe.lr}]
            on.trainer.fit(on.model, groups)


def stochastic(layer: nets.BatchNorm, p: float, rng: torch.Generator) -> Callable[[Tensor], Tensor]:
    """The forward pass of a BatchNorm layer, with both statistics mixed while it trains."""
    plain = layer.forward

    def forward(x: Tensor) -> Tensor:
        if not layer.training:
            return plain(x)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        mean, var = layer.running_mean.clone(), layer.running_var.clone()
        by_batch = plain(x)  # writes the running statistics, which the backward pass of the other half still needs
        by_running = torch.nn.functional.batch_norm(x, mean, var, layer.weight, layer.bias, eps=layer.eps)
        drawn = nets.uploaded(torch.rand(layer.num_features, generator=rng), x.device) < p
        return torch.where(drawn.view(1, -1, *[1] * (x.ndim - 2)), by_batch, by_running)

    return forward
