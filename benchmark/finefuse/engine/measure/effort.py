"""What a strategy does to learn, in whatever loop: optimizer steps and evaluations of gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

T = TypeVar("T")


class Effort:
    """Counts while it is `counting`.

    `gradients` are calls of `backward` and of `torch.autograd.grad`, each of which is one whatever the size of its
    batch. `own_steps` are those of optimizers that a strategy steps itself; the trainer counts what it does.
    """

    def __init__(self) -> None:
        self.gradients = self.own_steps = 0
        self._depth = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what is done meanwhile, anywhere in this process."""
        autograd = torch.autograd
        backward, grad = autograd.backward, autograd.grad
        hook = register_optimizer_step_post_hook(self._stepped)
        autograd.backward, autograd.grad = self._counted(backward), self._counted(grad)
        try:
            yield
        finally:
            autograd.backward, autograd.grad = backward, grad
            hook.remove()

    @contextmanager
    def not_own(self) -> Iterator[None]:
        """Steps within are the trainer's, also those of an optimizer that is made of others."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def own_again(self, call: Callable[[], T]) -> Callable[[], T]:
        """The same call, in which a strategy has its say: steps within are its own."""

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
            self.gradients += 1
            return call(*args, **options)

        return counted
