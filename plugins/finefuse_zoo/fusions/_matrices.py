"""Merges that treat every weight as a matrix, (out, rest), and average whatever is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from finefuse import nets
from finefuse.types import Fusing
from finefuse_zoo.fusions._task_vectors import from_base, train_inputs

if TYPE_CHECKING:
    from torch import Tensor

    Taus = Callable[[], Iterator[Tensor]]
    Combine = Callable[[Taus], Tensor]


def merged_matrices(of: Fusing, combine: Combine, scaling: float, recalibrate: bool) -> nets.Net:
    """One network whose every matrix is theta_0 + scaling * `combine(taus)`.

    `taus()` gives each member's tau_m = theta_m - theta_0, (out, rest) in float64, of which one is held at a time. Of
    tensors with fewer than two dimensions, and of BatchNorm's statistics, the mean of tau_m is taken.

    Raises:
        NotApplicable: if networks differ in architecture.
    """
    count = len(of.members)

    def rule(_: str, base: Tensor, members: list[Tensor]) -> Tensor:
        if base.ndim < 2:
            return nets.weighted_sum([base, *members], [1 - scaling, *[scaling / count] * count])
        start = base.flatten(1).double()
        tau = combine(lambda: (member.flatten(1).double() - start for member in members))
        return (start + scaling * tau).to(base.dtype).view(base.shape)

    return from_base(of, rule, train_inputs(of, recalibrate), min(1.0, scaling))


def total(taus: Taus) -> Tensor:
    """The sum of all, (out, rest)."""
    every = taus()
    added = next(every)
    for tau in every:
        added += tau
    return added
