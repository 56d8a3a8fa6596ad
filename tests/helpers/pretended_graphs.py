"""CUDA graphs of a pretended GPU: what a step launches is noted, and done again without the step's own code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.pretending import WAITS, PretendedGpu, tensors_in

aten = torch.ops.aten
ALSO_WRITES = {aten.native_batch_norm.default: (3, 4)}
"""Operands that an operation writes to without saying so."""


class PretendedGraphs:
    """Captures on a pretended GPU; `replays` counts."""

    def __init__(self, gpu: PretendedGpu) -> None:
        self._gpu = gpu
        self.replays = 0

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """As CUDA does: what was launched is done by replaying alone, and what makes the host wait is refused."""
        recorder = _Recorder(self._gpu)
        with recorder:
            step()
        with torch.no_grad():
            for tensor, content in reversed(recorder.before):
                tensor.copy_(content)

        def replay() -> None:
            self.replays += 1
            with torch.no_grad():
                for func, args, named, out in recorder.launched:
                    for place, content in zip(tensors_in([out]), tensors_in([func(*args, **named)]), strict=True):
                        if place is not content:
                            place.copy_(content)

        return replay

    def wait(self) -> None:
        """Nothing is ever outstanding."""


class _Recorder(TorchDispatchMode):
    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self._gpu = gpu
        self.launched: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self.before: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(
        self, func: Any, _: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        there = any(map(self._gpu.has, tensors_in([args, *named.values()])))
        if there and func in WAITS:
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing: {func}")
        self.before += [(one, one.clone()) for one in self._written(func, args, named)]
        out = func(*args, **named)
        if not func.is_view and (there or any(map(self._gpu.has, tensors_in([out])))):
            self.launched.append((func, args, named, out))
        return out

    def _written(self, func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Iterator[Tensor]:
        for i, argument in enumerate(func._schema.arguments):
            value = args[i] if i < len(args) else named.get(argument.name)
            says_so = argument.alias_info is not None and argument.alias_info.is_write
            if says_so or i in ALSO_WRITES.get(func, ()):
                yield from tensors_in([value])
