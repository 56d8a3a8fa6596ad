"""`serial`: in the driver's own process, one job after the other."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypeVar

import torch

from finefuse.types import Crew, Record

Order = TypeVar("Order")


@dataclass(frozen=True)
class Serial:
    """No isolation: for debuggers, and for plugins that no other process could import.

    A job that hangs, ends the process or takes all memory stops the whole run; the suite's limits on time and memory
    can't be enforced, and output of plugins appears between the run's own lines.
    """

    parallel: ClassVar[bool] = False

    def start(self, crew: Crew) -> None:
        """Give torch the threads that a worker of `local` would have, so that the bits are the same."""
        self._before.append(torch.get_num_threads())
        torch.set_num_threads(crew.threads)

    def submit(self, call: Callable[[Order], Record], order: Order, seconds: float) -> Future[Record]:  # noqa: ARG002
        """Carry out `call(order)` now; `seconds` is not looked at."""
        future: Future[Record] = Future()
        try:
            future.set_result(call(order))
        except Exception as error:
            future.set_exception(error)
        return future

    def stop(self) -> None:
        """Give torch its threads back."""
        while self._before:
            torch.set_num_threads(self._before.pop())

    @cached_property
    def _before(self) -> list[int]:
        return []
