"""The order of the batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """Row numbers of a batch, in the host's memory and on the device."""

    on_host: Tensor
    here: Tensor


def batch_order(n: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Row numbers of one batch after another, without end.

    Every example comes once per epoch; a batch that reaches the end of an epoch is filled from the next, so that all
    batches have the same size. The order depends on `n`, `batch_size` and `seed` alone.
    """
    rng = torch.Generator().manual_seed(seed)
    size = min(batch_size, n)
    rows = torch.randperm(n, generator=rng)
    while True:
        while len(rows) < size:
            rows = torch.cat([rows, torch.randperm(n, generator=rng)])
        yield rows[:size]
        rows = rows[size:]
