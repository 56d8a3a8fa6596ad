"""Training inputs, wherever they lie; those of the next batch are fetched from the host beside the step."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from finefuse.engine.train.batches import Rows


class Examples:
    """Inputs of batches on a device.

    What stays in the host's memory, or in a file, a thread copies into memory that the device can read by itself: that
    of the next batch while this one is trained on.
    """

    def __init__(self, x: Tensor, device: torch.device) -> None:
        self._x, self._device = x, device
        self._beside: Executor | None = None
        self._following: Rows | None = None
        self._fetched: tuple[Rows, Future[Tensor]] | None = None

    @contextmanager
    def ahead(self, batches: Iterator[Rows]) -> Iterator[Iterator[Rows]]:
        """The same batches, of which the one that follows is known."""
        if self._x.device == self._device or self._device.type != "cuda":
            yield batches
            return
        with ThreadPoolExecutor(1) as self._beside:
            try:
                yield self._looking_ahead(batches)
            finally:
                self._beside = self._following = self._fetched = None

    def _looking_ahead(self, batches: Iterator[Rows]) -> Iterator[Rows]:
        now = next(batches, None)
        while now is not None:
            self._following = next(batches, None)
            yield now
            now = self._following

    def read(self, rows: Rows) -> Tensor:
        """Inputs as they are, on the device; whoever reads one batch will read the next."""
        if self._x.device == self._device:
            return self._x[rows.here]
        if self._fetched is not None and self._fetched[0] is rows:
            part = self._fetched[1].result()
        else:
            part = self._fetch(rows)
        if self._beside is not None and self._following is not None:
            self._fetched = self._following, self._beside.submit(self._fetch, self._following)
        return part.to(self._device, non_blocking=True)

    def _fetch(self, rows: Rows) -> Tensor:
        part = self._x[rows.on_host]
        return part.pin_memory() if self._device.type == "cuda" else part
