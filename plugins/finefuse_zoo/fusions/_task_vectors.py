"""Arithmetic on what members have learned, tau_m = theta_m - theta_0, a block of numbers at a time.

Blocks are float64 and small enough for the processor's cache, so that results don't depend on the order of the members
and memory stays at the members and the network that is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from finefuse import nets
from finefuse.types import Fusing, Member

if TYPE_CHECKING:
    from torch import Tensor

    Rule = Callable[[str, Tensor, list[Tensor]], Tensor]
    Combine = Callable[[Tensor, Tensor], Tensor]

BLOCK = 2**17
"""Numbers of all members together at a time."""
SAMPLE = 2**12
"""Magnitudes that tell roughly where a quantile lies."""


def train_inputs(of: Fusing, recalibrate: bool) -> nets.Inputs:
    """What statistics are renewed from, or None where that is not wanted."""
    return nets.train_inputs(of) if recalibrate else None


def test_inputs(of: Fusing, recalibrate: bool) -> nets.Inputs:
    """The same, from the test inputs."""
    return nets.test_inputs(of) if recalibrate else None


def one_of_each_task(members: Sequence[Member]) -> list[Member]:
    """The first member of each task."""
    return [group[0] for group in nets.by_task(members)]


def drawn_inputs(of: Fusing, samples: int) -> list[Tensor]:
    """For each member so many of its training inputs, drawn at random; the same for members with the same data."""
    drawn: dict[int, Tensor] = {}
    for train in (member.train for member in of.members):
        if id(train) not in drawn:
            drawn[id(train)] = train.inputs(torch.randperm(len(train), generator=of.rng)[:samples])
    return [drawn[id(member.train)] for member in of.members]


def with_base(of: Fusing) -> list[Member]:
    """The base as a member of its own, and behind it the members.

    Raises:
        NotApplicable: if it or the members differ in their tensors.
    """
    nets.states_of(of.members)
    nets.base_state(of)
    base = of.base
    return [replace(of.members[0], name="base", score=float("nan"), load=lambda: base), *of.members]


def from_base(of: Fusing, rule: Rule, x: nets.Inputs, share: float = 1.0) -> nets.Net:
    """One network whose every parameter is `rule(name, theta_0, [theta_1, ...])`.

    Running statistics are those of the base and the mean of the members', the latter by `share` in [0, 1]; where the
    network is neither the base nor a member they are renewed from `x`, unless that is None.

    Raises:
        NotApplicable: if networks differ in architecture.
    """
    count = len(of.members)
    weights = [1 - share, *[share / count] * count]
    return nets.merged(with_base(of), lambda name, tensors: rule(name, tensors[0], tensors[1:]), x, weights)


def blockwise(base: Tensor, members: Sequence[Tensor], combine: Combine) -> Tensor:
    """`combine(theta_0, tau)` with blocks (n,) and (members, n) in float64, put together in the base's shape and type.

    `combine` may write into what it is given.
    """
    out = torch.empty(base.shape, dtype=base.dtype, device=base.device)
    parts = torch.split(out.view(-1), width(1 + len(members)))
    for part, (start, tau) in zip(parts, blocks(base, members), strict=True):
        part.copy_(combine(start, tau))
    return out


def blocks(base: Tensor, members: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """theta_0 (n,) and tau (members, n) in float64, block by block; the memory is used again for the next."""
    for block in stacked([base, *members]):
        start, tau = block[0], block[1:]
        yield start, tau.sub_(start)


def stacked(tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    """Tensors of one shape side by side, (tensors, n) in float64, block by block; the memory is used again."""
    size = min(width(len(tensors)), tensors[0].numel())
    memory = torch.empty(len(tensors), size, dtype=torch.float64, device=tensors[0].device)
    for rows in side_by_side(tensors, width(len(tensors))):
        block = memory[:, : len(rows[0])]
        for row, part in zip(block, rows, strict=True):
            row.copy_(part)
        yield block


def side_by_side(tensors: Sequence[Tensor], size: int) -> Iterator[tuple[Tensor, ...]]:
    """The numbers of tensors of one shape, `size` of each at a time, flat; of contiguous tensors they are no copies."""
    rows = [tensor.reshape(-1) for tensor in tensors]
    return zip(*(torch.split(row, size) for row in rows), strict=True) if len(rows[0]) > size else iter([tuple(rows)])


def width(count: int) -> int:
    """Numbers of each of `count` tensors at a time."""
    return max(64, BLOCK // count // 64 * 64)


def gram(tensors: Sequence[Tensor]) -> Tensor:
    """Inner products of all pairs, (tensors, tensors), float64, on the CPU."""
    total = torch.zeros(len(tensors), len(tensors), dtype=torch.float64, device=tensors[0].device)
    for block in stacked(tensors):
        total += block @ block.T
    return total.cpu()


def by_inner_products(of: Fusing, coefficients: Callable[[Tensor], Tensor], recalibrate: bool) -> nets.Net:
    """One network whose every parameter is a sum of the members', by `coefficients(gram)` (members,)."""

    def rule(_: str, tensors: list[Tensor]) -> Tensor:
        return nets.weighted_sum(tensors, coefficients(gram(tensors)).tolist())

    return nets.merged(of.members, rule, train_inputs(of, recalibrate))


def elected(tau: Tensor, reduce: str) -> Tensor:
    """The mean or sum (n,) of those of tau (members, n) that have the sign of their sum.

    A sum of 0 counts as positive; numbers that are 0 have no sign and are left out.
    """
    sign = torch.where(tau.sum(0) >= 0, 1.0, -1.0).to(tau)
    agrees = (tau * sign > 0).to(tau)
    total = (tau * agrees).sum(0)
    return total / agrees.sum(0).clamp_min(1) if reduce == "mean" else total


def magnitude_at(rank: int, pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """The `rank`-th smallest (from 1) of all abs(theta - theta_0) in pairs (theta_0, theta), exactly.

    A sample tells about where it lies; one pass counts what is below and sorts only what is near.
    """
    total = sum(base.numel() for base, _ in pairs)
    low, high = _about(rank / total, pairs) if total > 16 * SAMPLE else (-1.0, float("inf"))
    below, near = 0, []
    for base, theta in pairs:
        for _, tau in blocks(base, [theta]):
            size = tau[0].abs_()
            under = size < low
            below += int(under.sum())
            near.append(size[(size <= high) & ~under])
    found = torch.cat([part.cpu() for part in near])
    if not below < rank <= below + len(found):
        found, below = torch.cat([tau[0].abs().cpu() for pair in pairs for _, tau in blocks(pair[0], [pair[1]])]), 0
    return float(found.kthvalue(rank - below).values)


def _about(share: float, pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Bounds that the quantile of the magnitudes is nearly always between, from evenly spaced ones."""
    step = sum(base.numel() for base, _ in pairs) // SAMPLE
    taken = [(theta.reshape(-1)[::step].double() - base.reshape(-1)[::step].double()).abs() for base, theta in pairs]
    sample = torch.cat(taken).sort().values
    middle, margin = share * len(sample), 6 * (share * (1 - share) * len(sample)) ** 0.5 + 2
    first, last = int(middle - margin), int(middle + margin)
    low = float(sample[first]) if first >= 0 else -1.0
    return low, float(sample[last]) if last < len(sample) else float("inf")
