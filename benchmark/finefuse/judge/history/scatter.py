"""How far the values of a series lie apart by chance alone."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from finefuse.judge.frame import number
from finefuse.judge.gate.calibration import Calibration, Setting
from finefuse.judge.gate.examples import by_example
from finefuse.judge.gate.policy import Policy
from finefuse.judge.gate.questions import ROUNDING
from finefuse.judge.gate.times import FLOORS, noise_of
from finefuse.judge.history.series import Series
from finefuse.types import Cell, Record

FEWEST = 8
"""Changes from point to point that tell their own noise; below that it is assumed."""
EFFICIENCY = 0.37
"""How many degrees of freedom the median of absolute changes is worth, for each of them."""


class Scatter(NamedTuple):
    """The standard deviation of a value, and how many degrees of freedom it rests on; infinite where it is known.

    NaN for one that nothing tells.
    """

    deviation: float
    freedom: float = math.inf


def scatter_of(series: Series, policy: Policy, calibrated: Mapping[Setting, Calibration]) -> Scatter:
    """Of a value of the series, as `scaled` gives it.

    What follows from single test examples is as uncertain as their flips from one point to the next make it; other
    metrics are as uncertain as these changes differ over seeds. For times and memory it is what the gate takes it for,
    until their own changes tell it. Points with the same bits say nothing.
    """
    values = scaled(series)
    if series.measure.noisy:
        return _from_changes(values) or Scatter(noise_of(series.measure.family, series.rows, policy, calibrated)[0])
    steps = [_between(series, old, new) for old, new in pairwise(series.rows)]
    known = [step for step in steps if step]
    if not known:
        return _from_changes(values) or Scatter(math.nan)
    variance = sum(step.deviation**2 for step in known) / len(known) / 2
    return Scatter(math.sqrt(variance), sum(step.freedom for step in known))


def scaled(series: Series) -> list[float]:
    """The values as they are tested: logarithms of times and memory, anything else as it is."""
    if not series.measure.noisy:
        return list(series.values)
    floor = FLOORS[series.measure.family]
    return [math.log(value + floor) for value in series.values]


def _from_changes(values: Sequence[float]) -> Scatter | None:
    """By the median of the absolute changes, which a few steps don't move."""
    changes = [abs(new - old) for old, new in pairwise(values) if new != old]
    if len(changes) < FEWEST:
        return None
    return Scatter(float(np.median(changes)) / 0.6745 / math.sqrt(2), EFFICIENCY * len(changes))


def _between(series: Series, old: Sequence[Record], new: Sequence[Record]) -> Scatter | None:
    """Of the change from one point to the next; None if nothing changed or nothing tells."""
    pairs = list(zip(old, new, strict=True))
    return _by_examples(series, pairs) or _by_seeds(series, pairs)


def _by_examples(series: Series, pairs: Sequence[tuple[Record, Record]]) -> Scatter | None:
    """An example's net change over seeds is one observation, as in the gate."""
    nets: dict[object, list[np.ndarray]] = defaultdict(list)
    scale = 1.0
    for one, two in pairs:
        found = by_example(0, Cell.of(one), one, two, "")
        if found is None or series.measure.field != f"test.{found.covers}":
            return None
        nets[one.get("examples")].append(found.change.values)
        if not found.family.answers:
            scale = abs(number(one, series.measure.field)) * (0.5 if found.root else 1.0)
    squares = sum(float(np.square(np.sum(own, axis=0)).sum()) for own in nets.values())
    count = sum(len(values) for own in nets.values() for values in own)
    return Scatter(scale * math.sqrt(squares) / count) if squares else None


def _by_seeds(series: Series, pairs: Sequence[tuple[Record, Record]]) -> Scatter | None:
    """Seeds that all change by the same tell nothing."""
    changes = [number(two, series.measure.field) - number(one, series.measure.field) for one, two in pairs]
    if len(changes) < 2 or max(changes) - min(changes) <= ROUNDING * max(map(abs, changes)):
        return None
    return Scatter(float(np.std(changes, ddof=1)) / math.sqrt(len(changes)), len(changes) - 1)
