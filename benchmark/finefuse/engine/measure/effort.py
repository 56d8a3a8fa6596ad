"""What a strategy does to learn, in whatever loop: optimizer steps and evaluations of gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from finefuse.errors import BudgetError

T = TypeVar("T")
ENGINE = "_engine_run_backward"
"""What both go through, by whatever name a plugin has imported them."""


class Effort:
    """Counts while it is `counting`.

    `gradients` are calls of `backward` and of `torch.autograd.grad`, each of which is one whatever the size of its
    batch; those that autograd makes within another one, as for recomputed activations, are part of it. `own_steps` are
    those of optimizers that a strategy steps itself, `own_gradients` those that it evaluates; the trainer counts what
    it does.
    """

    def __init__(self) -> None:
        self.gradients = self.own_gradients = self.own_steps = 0
        self._depth = self._passes = 0

    @property
    def own(self) -> int:
        """What a strategy has spent in loops of its own, whoever's optimizer writes the step: one for each gradient."""
        return max(self.own_steps, self.own_gradients)

    def require_within(self, budget: int, spent: int, declared: int = 0) -> None:
        """Refuse more steps than a budget holds, of which trainers have `spent` some, and other loops the rest.

        A step that no optimizer takes, such as `p -= lr * p.grad`, is known by the gradient it needs. `declared` are
        those that a strategy says it takes in a loop of its own, beside the budget.

        Raises:
            BudgetError: in one sentence.
        """
        if max(0, self.own - declared) + spent <= budget:
            return
        steps, gradients = self.own_steps, self.own_gradients
        own = f"took {steps} optimizer steps" if steps >= gradients else f"evaluated {gradients} gradients"
        more = f", with {declared} more for its own" if declared else ""
        raise BudgetError(
            f"{own} of its own beside {spent} of the trainer's, and its budget is {budget} for both{more}"
        )

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what is done meanwhile, anywhere in this process."""
        run = getattr(torch.autograd, ENGINE)
        hook = register_optimizer_step_post_hook(self._stepped)
        setattr(torch.autograd, ENGINE, self._counted(run))
        try:
            yield
        finally:
            setattr(torch.autograd, ENGINE, run)
            hook.remove()

    @contextmanager
    def not_own(self) -> Iterator[None]:
        """Steps and gradients within are the trainer's, also those of an optimizer that is made of others."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def own_again(self, call: Callable[[], T]) -> Callable[[], T]:
        """The same call, in which a strategy has its say: steps and gradients within are its own."""

        def called() -> T:
            depth, self._depth = self._depth, 0
            try:
                return call()
            finally:
                self._depth = depth

        return called

    def _stepped(self, *_: object) -> None:
        self.own_steps += not self._depth

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            outermost = not self._passes
            self.gradients += outermost
            self.own_gradients += outermost and not self._depth
            self._passes += 1
            try:
                return call(*args, **options)
            finally:
                self._passes -= 1

        return counted
