"""Networks that are compiled to train: each anew, so that nothing depends on what was compiled before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import torch
from torch import Tensor

MODES = ("default", "reduce-overhead")
Call = Callable[[Tensor], Tensor]


@dataclass
class Compiled:
    """Compiles in one of torch's modes, or not at all in others; `seconds` is how long that has taken so far."""

    mode: str
    seconds: float = 0.0
    _began: list[float] = field(default_factory=list)

    @contextmanager
    def compiling(self, call: Call) -> Iterator[Call]:
        """A function compiled, for a while.

        Torch gives up on a function of which it has compiled eight versions, in this process and whatever networks they
        were for, and goes on without a word; here it starts from none, and to give up is an error.
        """
        if self.mode not in MODES:
            yield call
            return
        from torch._dynamo import config
        from torch._dynamo.callback import callback_handler

        torch.compiler.reset()
        callback_handler.register_start_callback(self._begins)
        callback_handler.register_end_callback(self._ends)
        try:
            with config.patch(fail_on_cache_limit_hit=True):  # the name that all versions from 2.6 know
                yield torch.compile(call, mode=self.mode)
        finally:
            callback_handler.remove_start_callback(self._begins)
            callback_handler.remove_end_callback(self._ends)

    def _begins(self, *_: object) -> None:
        self._began.append(perf_counter())

    def _ends(self, *_: object) -> None:
        began = self._began.pop()
        if not self._began:  # not in the middle of another
            self.seconds += perf_counter() - began
