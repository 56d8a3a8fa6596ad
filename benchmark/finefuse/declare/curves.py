"""Curves over how much a pool fuses: which of its tasks or members, in which order, for every size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from math import comb, factorial

from finefuse.declare.keys import derive_seed
from finefuse.types import Job

Chosen = tuple[int, ...]
"""Positions in a pool, in the order in which they arrive."""
Fuses = Callable[[Chosen, bool], Iterator[Job]]
"""Gives the jobs of part of a pool: of the fusions that depend on the order of members if asked for, or of all others,
with the bounds of that part."""


def curve(names: Sequence[str], sizes: Sequence[int], subsets: int, fuses: Fuses) -> Iterator[Job]:
    """The jobs of parts of a pool, for every size; `names` are what parts are made of.

    The whole in its own order has jobs already, so the fusions that don't depend on it have none of that size.
    """
    for size in (size for size in sizes if size <= len(names)):
        parts = drawn(names, size, subsets) if size < len(names) else []
        for ordered, chosen in ((False, parts), (True, arrivals(names, size, subsets))):
            for draw, one in enumerate(chosen):
                subset = tuple(names[i] for i in one)
                for job in fuses(one, ordered):
                    yield replace(job, size=size, draw=draw, subset=subset)


def drawn(names: Sequence[str], size: int, count: int) -> list[Chosen]:
    """Different subsets of a size in the order of `names`: all if there are no more than `count`, or as many drawn."""
    places = range(len(names))
    if comb(len(names), size) <= count:
        return list(combinations(places, size))
    found: dict[Chosen, None] = {}
    number = 0
    while len(found) < count:
        found[tuple(sorted(_shuffled(places, names, number, "subset")[:size]))] = None
        number += 1
    return list(found)


def arrivals(names: Sequence[str], size: int, count: int) -> list[Chosen]:
    """The same subsets, each in orders that are drawn too: `count` different ones, or all if there are no more."""
    subsets = drawn(names, size, count)
    wanted = min(count, len(subsets) * factorial(size))
    found: dict[Chosen, None] = {}
    number = 0
    while len(found) < wanted:
        found[tuple(_shuffled(subsets[number % len(subsets)], names, number, "arrival"))] = None
        number += 1
    return list(found)


def _shuffled(places: Sequence[int], names: Sequence[str], number: int, purpose: str) -> list[int]:
    """Places in an order that depends on the names that stand there, and on nothing else of the suite."""
    return sorted(places, key=lambda i: derive_seed(number, name=names[i], purpose=purpose))


def remark(jobs: Sequence[Job]) -> list[str]:
    """How many of a plan's jobs are for curves, in one sentence for each pool."""
    found: dict[str, list[Job]] = {}
    for job in jobs:
        if job.size:
            found.setdefault(job.pool, []).append(job)
    told = []
    for pool, own in found.items():
        sizes = ", ".join(str(size) for size in sorted({job.size for job in own}))
        parts = len({frozenset(job.subset) for job in own})
        told.append(f"the curve of pool {pool} over sizes {sizes} is {len(own)} jobs on {parts} subsets")
    return told
