"""Whether outputs for an example depend on the others that it is scored with: a deployed model may see it alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from finefuse.errors import PluginError
from finefuse.types import Settings

CLOSE = 1e-3
"""How far outputs for an example may lie apart in two batches, as a share of the largest: products are split anew."""
CLOSE_ROUNDED = 0.1
"""The same where factors are rounded, to sixteen bits or TF32."""
TIED = 0.1
"""Share of examples that may: where a method decides between ties, the last bit does."""
FEW = (1, 15)
"""Sizes of the batches that a network is asked about."""


def refuse_joint(
    predict: Callable[[Tensor], Tensor], outputs: Tensor, address: str, settings: Settings, sizes: Sequence[int] = FEW
) -> None:
    """Refuse outputs (N, outputs) that come out otherwise in other company.

    `predict` gives the outputs for some positions, as one batch. Its members are drawn anew for each artifact, by its
    `address`, so no method can know them before.

    Raises:
        PluginError: in one sentence.
    """
    seed = int.from_bytes(hashlib.sha256(f"separate {address}".encode()).digest()[:7])
    order = torch.randperm(len(outputs), generator=torch.Generator().manual_seed(seed))
    closeness = CLOSE_ROUNDED if settings.precision != "fp32" or settings.tf32 else CLOSE
    asked, different = 0, 0
    for rows in torch.split(order[: sum(sizes)], _fitting(sizes, len(order))):
        known = outputs[rows.to(outputs.device)]
        found = predict(rows)
        if found.shape != known.shape:
            raise PluginError(f"{len(rows)} examples gave outputs of shape {tuple(found.shape)}")
        apart = (found.to(known) - known).abs() > closeness * (1 + known.abs().amax())
        asked, different = asked + len(rows), different + int(apart.flatten(1).any(1).sum())
    if different > TIED * asked:
        raise PluginError(
            f"its outputs for an example depend on the others in its batch: of {asked} test examples, {different} have"
            " other outputs in a batch drawn at random; a method that learns from the test inputs declares that it"
            ' needs "test inputs"'
        )


def chunks(count: int) -> tuple[int, ...]:
    """Sizes that make up all examples: one alone, a few, and halves of what is left."""
    half = max(0, count - 8) // 2
    return tuple(_fitting((1, 7, half, count), count))


def _fitting(sizes: Sequence[int], count: int) -> list[int]:
    """These sizes, as far as there are examples."""
    fitting, left = [], count
    for size in sizes:
        if min(size, left) > 0:
            fitting.append(min(size, left))
            left -= fitting[-1]
    return fitting
