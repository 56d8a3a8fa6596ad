"""Learning rates of a strategy's own, where the trainer's schedule is not what a paper asks for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from finefuse import nets
from finefuse.types import Recipe

if TYPE_CHECKING:
    from torch.optim import Optimizer


def with_rates(recipe: Recipe, rate: Callable[[int], float]) -> Callable[[list[dict[str, Any]]], Optimizer]:
    """The recipe's optimizer for `Trainer.fit`; step i, from 0, is taken at `rate(i)`, whatever the schedule says."""

    def make(groups: list[dict[str, Any]]) -> Optimizer:
        optimizer, steps = nets.make_optimizer(groups, recipe.optimizer, recipe), itertools.count()

        def set_rate(optimizer: Optimizer, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
            now = rate(next(steps))
            for group in optimizer.param_groups:
                group["lr"] = now

        optimizer.register_step_pre_hook(set_rate)
        return optimizer

    return make


def cosine(share: float, high: float, low: float = 0.0) -> float:
    """From `high` at share 0 to `low` at share 1, along half a cosine (arXiv 1608.03983)."""
    return low + (high - low) * 0.5 * (1 + math.cos(math.pi * share))
