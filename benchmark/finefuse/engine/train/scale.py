"""Loss scaling for float16, whose gradients would otherwise be too small for it (Micikevicius et al. 2017, 1710.03740).

Where gradients overflow the step changes nothing, and the next ones are scaled less. Nothing waits for the device, as
long as the optimizer is one of torch's fused ones, which skip a step themselves.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

FIRST, GROWTH, BACKOFF, INTERVAL = 2.0**16, 2.0, 0.5, 2000
"""What a loss is multiplied with at first; how that grows after so many good steps, and falls after a bad one."""


class Overflow(Exception):  # noqa: N818
    """Leaves an optimizer before it steps."""


class LossScale:
    """What the loss is multiplied with on one device, and what becomes of steps whose gradients overflow."""

    def __init__(self, device: torch.device) -> None:
        self._scale, self._good = (
            torch.full((), FIRST, device=device),
            torch.zeros((), dtype=torch.int32, device=device),
        )
        self._found, self._skipped = torch.zeros((), device=device), torch.zeros((), device=device)

    @property
    def skipped(self) -> int:
        """Steps that were skipped so far; waits for the device."""
        return int(self._skipped)

    def refuse_divergence(self) -> None:
        """Steps that were skipped leave weights finite; that not even small gradients were is divergence all the same.

        Raises:
            FloatingPointError: in one sentence.
        """
        if self._scale < 1:
            raise FloatingPointError(f"training diverged: {self.skipped} steps overflowed float16, scaled or not")

    def of(self, loss: Tensor) -> Tensor:
        """The loss to be differentiated."""
        return loss * self._scale

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Give the optimizer the gradients of the loss itself, and note whether any is not finite."""
        every = [p.grad for p in _parameters(optimizer) if p.grad is not None]
        if every:
            torch._amp_foreach_non_finite_check_and_unscale_(every, self._found, self._scale.reciprocal())
        if not _skips(optimizer) and self._found.item():
            raise Overflow

    def step(self, optimizer: torch.optim.Optimizer, closure: Callable[[], float]) -> None:
        """A step that is skipped if one of the gradients it is made of overflows."""
        self._found.zero_()
        if _skips(optimizer):
            _begin_momentum(optimizer)
            vars(optimizer)["found_inf"] = self._found
            optimizer.step(closure)
        else:
            self._undone(optimizer, closure)
        self._skipped += self._found
        torch._amp_update_scale_(self._scale, self._good, self._found, GROWTH, BACKOFF, INTERVAL)

    def _undone(self, optimizer: torch.optim.Optimizer, closure: Callable[[], float]) -> None:
        """The same by an optimizer that knows nothing of it, whose weights are put back."""
        weights = _parameters(optimizer)
        before = [p.detach().clone() for p in weights]
        try:
            optimizer.step(closure)
        except Overflow:
            with torch.no_grad():
                torch._foreach_copy_(weights, before)


def _skips(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it is one of torch's that skip a step by themselves."""
    fused = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
    return isinstance(optimizer, fused) and bool(optimizer.defaults.get("fused"))


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _begin_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Give SGD momenta of 0, which the first step adds to; those it makes itself a skipped step leaves unwritten."""
    if isinstance(optimizer, torch.optim.SGD) and not optimizer.state:
        for group in optimizer.param_groups:
            for p in group["params"] if group["momentum"] else ():
                optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
