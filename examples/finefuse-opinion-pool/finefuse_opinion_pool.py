"""The fusion `opinion-pool`: a weighted mean whose weights SciPy finds on val."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Ge

from finefuse import Entry, hookimpl, nets
from finefuse.types import Fusing, Fusion, Level, Need

if TYPE_CHECKING:
    from torch import nn

LEAST = 1e-3
"""Members that weigh less are not deployed."""


@dataclass(frozen=True)
class OpinionPool:
    """p = sum_m w_m p_m, or of regressed values (Stone 1961, doi 10.1214/aoms/1177704873).

    The weights are those of least loss on val plus `shrink` ||w - 1/M||^2, none below 0, with a sum of 1. For classes
    this is a convex problem, which sequential quadratic programming solves (SLSQP, Kraft 1988).
    """

    shrink: Annotated[float, Ge(0)] = 0.01
    level: ClassVar[Level] = "output"
    needs: ClassVar[tuple[Need, ...]] = ("val",)

    def fuse(self, of: Fusing) -> nn.Module:
        """An ensemble of the members that count.

        Raises:
            RuntimeError: if SciPy finds no weights, with its reason.
        """
        found = self.weights(of)
        used = np.flatnonzero(found >= LEAST)
        w, task = torch.from_numpy(found[used] / found[used].sum()), of.task
        return nets.CombineOutputs([of.members[m] for m in used], lambda outputs: task.averaged(outputs, w))

    def weights(self, of: Fusing) -> np.ndarray:
        """One weight per member."""
        from scipy import optimize

        outputs = torch.stack([member.val_outputs for member in of.members]).double()
        even = np.full(len(outputs), 1 / len(outputs))

        def loss(w: np.ndarray) -> float:
            pooled = of.task.averaged(outputs, torch.from_numpy(w))
            return float(of.task.loss(pooled, of.val.y)) + self.shrink * float(((w - even) ** 2).sum())

        total = {"type": "eq", "fun": lambda w: w.sum() - 1}
        found = optimize.minimize(loss, even, method="SLSQP", bounds=[(0, 1)] * len(even), constraints=total)
        if not found.success:
            raise RuntimeError(f"SciPy found no weights: {found.message}")
        return found.x


@hookimpl
def finefuse_fusions() -> Iterator[Entry[Fusion]]:
    """Make it known to finefuse."""
    yield Entry("opinion-pool", OpinionPool, "a mean weighted by what is best on val", requires=("scipy",))
