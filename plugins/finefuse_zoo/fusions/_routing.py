"""The gate of `task-gate`. Apart from it, because it needs torch to be read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from finefuse.nets import Net
from finefuse_zoo.fusions._feature_heads import linear


class Router(nn.Module):
    """Features of several bodies, by a linear gate (tasks, width) on the features of the network they started from.

    `hard` runs one body for each input, otherwise all and adds their features up by the gate's probabilities.
    """

    def __init__(self, start: Net, nets: Sequence[Net], weight: Tensor, bias: Tensor, *, hard: bool) -> None:
        super().__init__()
        self.start = nn.Sequential(*start.stages)
        self.bodies = nn.ModuleList(nn.Sequential(*net.stages) for net in nets)
        self.gate, self.hard = linear(weight, bias), hard

    def forward(self, x: Tensor) -> Tensor:
        """(N, *input_shape) to (N, width)."""
        told = self.gate(self.start(x))
        if not self.hard:
            return self._mixed(x, told.softmax(-1))
        chosen = told.argmax(-1)
        if torch.compiler.is_compiling():  # a graph can't depend on values: all bodies run, and one counts
            return self._mixed(x, nn.functional.one_hot(chosen, len(self.bodies)).to(told.dtype))
        rows = [(chosen == i).nonzero().flatten() for i in range(len(self.bodies))]
        parts = [body(x[own]) for body, own in zip(self.bodies, rows, strict=True) if len(own)]
        return torch.cat(parts)[torch.cat(rows).argsort()]

    def _mixed(self, x: Tensor, shares: Tensor) -> Tensor:
        return (shares.T[..., None] * torch.stack([body(x) for body in self.bodies])).sum(0)
