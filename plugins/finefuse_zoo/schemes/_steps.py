"""Optimizers that put other gradients in place of the plain ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from finefuse import nets
from finefuse.types import Recipe

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

Gradients = Callable[[], "Tensor"]
"""Computes the loss of a batch and leaves its gradients in the parameters."""


@contextmanager
def dropout_kept(device: torch.device) -> Iterator[None]:
    """What is drawn from torch's global generators inside is drawn again after it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def stepping_by(
    gradients: Callable[[Optimizer, Gradients], Tensor], recipe: Recipe
) -> Callable[[list[dict[str, Any]]], Optimizer]:
    """The recipe's optimizer for `Trainer.fit`, with `gradients(optimizer, plain)` in place of the plain gradients."""

    def instead(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return (optimizer, lambda: gradients(optimizer, args[1])), kwargs  # args are those of step(closure)

    def make(groups: list[dict[str, Any]]) -> Optimizer:
        optimizer = nets.make_optimizer(groups, recipe.optimizer, recipe)
        optimizer.register_step_pre_hook(instead)
        return optimizer

    return make
