"""A few weights, drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Gt, Le

from finefuse import NotApplicable
from finefuse.types import Space, Tuning

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Shira:
    """Train the `share` of the weights that are drawn once at random, and the head (SHiRA, 2406.13175).

    Bhardwaj et al. 2024, with the random mask. Of every tensor of the stages with two dimensions or more one number at
    least is trained. Without weight decay, so that all other numbers keep every bit, as do biases and norms. Checked by
    a bare loop that puts them back after every step.
    """

    share: Annotated[float, Gt(0), Le(1)] = 0.02
    lr: Annotated[float, Gt(0)] | None = None
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}}

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, with gradients of 0 for what is not drawn."""
        weights = [p for p in on.model.stages.parameters() if p.ndim > 1]
        if not weights:
            raise NotApplicable("the stages have no weights that are matrices")
        with ExitStack() as given_back:
            for p in weights:
                drawn = torch.randperm(p.numel(), generator=on.rng)[: max(1, int(self.share * p.numel()))]
                mask = torch.zeros(p.numel()).index_fill_(0, drawn, 1).view(p.shape).to(p)
                given_back.callback(p.register_hook(_masked(mask)).remove)  # type: ignore[no-untyped-call]
            rate = self.lr or on.model.recipe.lr_of_few
            groups = [{"params": weights, "lr": rate, "weight_decay": 0.0}]
            on.trainer.fit(on.model, [*groups, {"params": on.model.head.parameters(), "lr": rate}], norm="eval")


def _masked(mask: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient * mask
