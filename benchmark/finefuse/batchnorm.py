"""BatchNorm's running statistics: which layers have them, and how they are kept or recomputed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from finefuse.memory import divides

BatchNorm = nn.modules.batchnorm._BatchNorm
FEWEST = 2
"""Examples that a batch has at least, where layers normalise by it."""


def norm_layers(model: nn.Module) -> Iterator[BatchNorm]:
    """All BatchNorm layers of a model."""
    return (m for m in model.modules() if isinstance(m, BatchNorm))


def running(model: nn.Module) -> list[Tensor]:
    """The running means and variances of all layers that have them, in the order of the layers."""
    layers = [layer for layer in norm_layers(model) if layer.running_mean is not None]
    return [one for layer in layers for one in (layer.running_mean, layer.running_var) if one is not None]


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """BatchNorm normalises as usual, but its running statistics and counters stay as they are."""
    layers = [layer for layer in norm_layers(model) if layer.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


@torch.no_grad()
def recompute(model: nn.Module, see: Callable[[Tensor], Tensor], x: Tensor, batch_size: int) -> None:
    """Recompute the running statistics of `model` on inputs `x`, which `see` runs it on; see `nets.recalibrate`."""
    layers = list(norm_layers(model))
    if not layers or not len(x):
        return
    before = [(layer, layer.momentum, layer.training) for layer in layers]
    device = next(model.parameters()).device
    counters = [(buffer, buffer.clone()) for buffer in model.buffers() if not buffer.is_floating_point()]
    model.eval()
    for layer in layers:
        layer.momentum = None  # a plain mean over the batches
        layer.train()
    pieces = 1
    while not _seen(see, x, max(1, batch_size // pieces), device, layers, pieces):
        pieces *= 2
    for layer, momentum, training in before:
        layer.momentum = momentum
        layer.train(training)
    for buffer, count in counters:
        buffer.copy_(count)


def _seen(
    see: Callable[[Tensor], Tensor], x: Tensor, size: int, device: torch.device, layers: list[BatchNorm], pieces: int
) -> bool:
    """Let the layers see all inputs from the start, about `size` at a time; False if these were too many."""
    for layer in layers:
        layer.reset_running_stats()
    try:
        for batch in torch.tensor_split(x, max(1, len(x) // size)):  # of nearly one size: none is of one example
            see(batch.to(device))
    except Exception as error:
        if size < 2 * FEWEST or not divides(error, device, 2 * pieces):
            raise
        return False
    return True
