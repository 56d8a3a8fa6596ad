"""A change of a line against how far its seeds lie apart: few seeds tell too little from their own differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from scipy import special

from finefuse.judge.gate.questions import Tested, quantile

Key = TypeVar("Key")


@dataclass(frozen=True)
class Seeds:
    """The scores of a line's seeds before and now, as shares of the base's mean; all finite."""

    old: Sequence[float]
    new: Sequence[float]

    @property
    def freedom(self) -> int:
        """How many independent differences of seeds there are; scores that are the same count once."""
        return (len(self.old) - 1) * (1 if list(self.old) == list(self.new) else 2)

    @property
    def variance(self) -> float:
        """Of one seed, the mean of before and now."""
        return (_variance(self.old) + _variance(self.new)) / 2


@dataclass(frozen=True)
class Spread:
    """How far one seed of a line lies from another, and the `noise` of a difference of two means, if they are new runs.

    Runs with the same seed have data and a start in common, so this is rather too large.
    """

    deviation: float
    noise: float
    freedom: float


def spreads(lines: Mapping[Key, Seeds]) -> dict[Key, Spread]:
    """The spread of each line that has several seeds: its own, but no less than that of all lines.

    Few seeds often lie together by chance, so what is smaller than the common spread isn't believed. Lines do differ,
    so of the others' degrees of freedom only the root counts: simulated in the tests, for lines whose spreads differ
    e-fold too.
    """
    several = {key: own for key, own in lines.items() if len(own.old) > 1}
    total = sum(own.freedom for own in several.values())
    common = sum(own.freedom * own.variance for own in several.values()) / max(1, total)
    found = {}
    for key, own in several.items():
        deviation = math.sqrt(max(own.variance, common))
        freedom = own.freedom + math.sqrt(total - own.freedom)
        found[key] = Spread(deviation, deviation * math.sqrt(2 / len(own.old)), freedom)
    return found


def against(tested: Tested, spread: Spread | None) -> Tested:
    """The better of a test of differences seed by seed and of one against the spread, at the price of both."""
    if spread is None or not spread.noise or not tested.gain:
        return tested
    ps = (float(special.stdtr(spread.freedom, side * tested.gain / spread.noise)) for side in (1, -1))
    worse, better = (min(1.0, 2 * min(one, p)) for one, p in zip((tested.worse, tested.better), ps, strict=True))
    said = f"{tested.said}, {abs(tested.gain) / spread.deviation:.2g} times their spread"
    found = replace(tested, worse=worse, better=better, least=0.0, said=said)
    if spread.noise * quantile(0.999, spread.freedom) < tested.noise * quantile(0.999, tested.freedom):
        found = replace(found, noise=spread.noise, freedom=spread.freedom)
    return found


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
