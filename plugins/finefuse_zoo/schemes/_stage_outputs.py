"""Watching what the stages of a network give while it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch

from finefuse import nets

if TYPE_CHECKING:
    from torch import Tensor, nn


@contextmanager
def stage_outputs(model: nets.Net) -> Iterator[list[Tensor]]:
    """What each stage gave out in the latest forward pass; the last one's are the features, (N, width)."""
    seen = [torch.empty(0)] * len(model.stages)

    def watch(part: nn.Module, i: int) -> None:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[i] = inputs[0]

        hooks.callback(part.register_forward_pre_hook(keep).remove)

    with ExitStack() as hooks:
        for i, following in enumerate([*model.stages[1:], model.head]):
            watch(following, i)
        yield seen
