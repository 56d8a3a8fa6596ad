"""Modules that schemes put beside or behind a frozen backbone. Apart from them, because it needs torch to be read."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from finefuse import NotApplicable
from finefuse.nets import Net


class Adapter(nn.Module):
    """`x + scale up(relu(down(x)))`; `up` starts at zero, so that the whole starts as the identity."""

    def __init__(self, down: nn.Linear | nn.Conv2d, up: nn.Linear | nn.Conv2d, scale: float) -> None:
        super().__init__()
        self.down, self.up, self.scale = down, zero(up), scale

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out."""
        return x + self.scale * self.up(self.down(x).relu())  # type: ignore[no-any-return]


def add_mlp_adapter(model: Net, width: int, scale: float) -> None:
    """Put an adapter between the last stage and the head, as a stage of its own."""
    features = model.head.in_features
    model.stages.append(Adapter(nn.Linear(features, width), nn.Linear(width, features), scale))


def add_conv_adapter(model: Net, width: int, scale: float) -> None:
    """Put an adapter, 3x3 and 1x1, on the last feature map; what pools it becomes part of the adapter's stage.

    Raises:
        NotApplicable: if the last stage has no `AdaptiveAvgPool2d(1)`, and so no feature map of the head's width.
    """
    channels, last = model.head.in_features, model.stages[-1]
    parts = list(last) if isinstance(last, nn.Sequential) else []
    pools = [i for i, part in enumerate(parts) if isinstance(part, nn.AdaptiveAvgPool2d) and _to_one(part)]
    if not pools:
        raise NotApplicable("the last stage has no AdaptiveAvgPool2d(1), whose feature map a convolution could adapt")
    down, up = nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, channels, 1)
    model.stages[-1] = nn.Sequential(*parts[: pools[0]])
    model.stages.append(nn.Sequential(Adapter(down, up, scale), *parts[pools[0] :]))


class SideBySide(nn.Module):
    """`alpha base(x) + (1 - alpha) project(pool(side(x)))`: all stages, frozen, and a copy of the first few, trained.

    The side's positions (of maps and tokens) are averaged. The projection to the features' width starts at zero; a copy
    of all stages has none.
    """

    def __init__(self, stages: nn.ModuleList, copied: int, features: int, alpha: float) -> None:
        super().__init__()
        self.base = nn.Sequential(*stages)
        self.side = copy.deepcopy(self.base[:copied])
        whole = copied == len(stages)
        self.project = nn.Identity() if whole else zero(nn.Linear(_width(self.side), features))
        self.logit = nn.Parameter(torch.tensor(alpha).logit())

    def forward(self, x: Tensor) -> Tensor:
        """(N, *input_shape) to (N, features)."""
        alpha = self.logit.sigmoid()
        return alpha * self.base(x) + (1 - alpha) * self.project(_pooled(self.side(x)))  # type: ignore[no-any-return]

    def fits(self, seen: Tensor) -> bool:
        """Whether what the side network gives has the width that its projection expects."""
        return _pooled(seen).shape[1:] == (getattr(self.project, "in_features", seen.shape[-1]),)

    def train(self, mode: bool = True) -> SideBySide:
        """The base is always in evaluation mode."""
        super().train(mode)
        self.base.eval()
        return self


def zero(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    """The layer with weights and biases of zero."""
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


def _pooled(seen: Tensor) -> Tensor:
    """The mean over positions of maps (N, width, H, W) and of tokens (N, tokens, width)."""
    return seen.mean((2, 3)) if seen.ndim == 4 else seen.mean(1) if seen.ndim == 3 else seen


def _to_one(pool: nn.AdaptiveAvgPool2d) -> bool:
    return pool.output_size in (1, (1, 1))


def _width(side: nn.Module) -> int:
    """The width of the last layer that has one, (N, width, ...) or (N, tokens, width)."""
    widths = [
        getattr(layer, name)
        for layer in side.modules()
        for name in ("out_features", "out_channels", "num_features")
        if isinstance(getattr(layer, name, None), int)
    ]
    if not widths:
        raise NotApplicable("the stages that are copied have no layer that tells their width")
    return int(widths[-1])
