"""Changes of single test examples, and joint tests of many sums of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

Values = NDArray[np.float64]
Singles = NDArray[np.float32]
FEW = 11
"""Up to this many changed examples all ways to turn them are tried, else a sample of them."""
PER_ALPHA, LEAST, MOST = 100, 1000, 20_000
"""How many ways are tried: this number divided by alpha, within these bounds."""
CLOSE = 1e-4
"""Statistics closer than this are equal: they are computed in float32."""
POWER = 0.8
"""The chance with which a loss of the size that is called visible would have been seen."""


@dataclass(frozen=True)
class Change:
    """How one cell changed.

    `values` (examples,) are above 0 where the new row is better: +1 and -1 for answers that were won and lost, or by
    how much the loss fell, as a share of the base's mean loss. Examples at the same place of the same `sample` count as
    one.
    """

    sample: Hashable
    values: Values

    @property
    def gain(self) -> float:
        """The mean over examples."""
        return float(self.values.mean())

    @property
    def same(self) -> bool:
        """Whether no example changed."""
        return not self.values.any()


@dataclass(frozen=True)
class Total:
    """Cells whose changes are added up, by number; with `against` the sum is tested that is left without those' mean.

    Then a loss is one only if the cells have lost something themselves.

    `lead` is how many standard deviations it is ahead of the other totals when the most extreme one is looked for.
    """

    cells: tuple[int, ...]
    against: tuple[int, ...] = ()
    lead: float = 0.0


@dataclass(frozen=True)
class Joint:
    """One p-value per total, of a loss and of a gain, after correction for all; `critical` is what is significant."""

    worse: Values
    better: Values
    critical: float


def joint_test(changes: Sequence[Change], totals: Sequence[Total], alpha: float) -> Joint:
    """Test every total, so that the chance of any false alarm of a loss is at most `alpha`, and so of a gain.

    If nothing changed, what an example gains and loses could as well be exchanged, in all cells at once: each is one
    observation, however many cells it flips in. So signs are turned example by example, and a total is significant
    if it lies beyond what the most extreme total comes to by turning: the step-down method of Westfall and Young (1993,
    Resampling-Based Multiple Testing, 2.6), on sums divided by their standard deviations. It knows how totals depend on
    each other. A total of so few changes that it can't be extreme costs the others nothing, which is Tarone's exclusion
    (1990, doi 10.2307/2531456). For one cell it is McNemar's test.
    """
    seen, null = _statistics(changes, totals, alpha)
    lead = np.array([total.lead for total in totals], np.float32)[:, None]
    critical = max(float(np.quantile((null + lead).max(0), 1 - alpha)), float(special.ndtri(1 - alpha)))
    worse, better = (_step_down(side * seen + lead[:, 0], side * null + lead) for side in (-1, 1))
    return Joint(worse, better, critical)


def _statistics(changes: Sequence[Change], totals: Sequence[Total], alpha: float) -> tuple[Singles, Singles]:
    """Every total divided by its standard deviation, as it is (totals,), and as it is for all turns (totals, turns)."""
    rows = [(total.cells, None) for total in totals] + [(t.cells, t.against) for t in totals if t.against]
    sums, squares = None, np.zeros(len(rows))
    samples: dict[Hashable, list[int]] = defaultdict(list)
    for i, change in enumerate(changes):
        if not change.same:
            samples[change.sample, len(change.values)].append(i)
    matrices = {name: _changed([changes[i].values for i in own]) for name, own in samples.items()}
    turns = _turns([matrix.shape[1] for matrix in matrices.values()], alpha)
    for (name, own), signs in zip(samples.items(), turns, strict=True):
        weights = _weights(rows, {cell: at for at, cell in enumerate(own)})
        squares += np.square(weights @ matrices[name].astype(np.float64)).sum(1)
        turned = weights.astype(np.float32) @ (matrices[name] @ signs)
        sums = turned if sums is None else sums + turned
    if sums is None:
        return np.zeros(len(totals), np.float32), np.zeros((len(totals), 1), np.float32)
    scale = np.sqrt(np.where(squares > 0, squares, np.inf))[:, None].astype(np.float32)
    scaled: Singles = sums / scale
    plain, also = scaled[: len(totals)], scaled[len(totals) :]
    seen = plain[:, 0].copy()
    if double := [i for i, total in enumerate(totals) if total.against]:
        seen[double] = np.where(seen[double] * also[:, 0] > 0, also[:, 0], 0)
        plain[double] = also  # what all share is no chance, and turning it would make too little of what is
    return seen, plain


def _changed(values: Sequence[Values]) -> Singles:
    """The changes of cells (cells, examples), without examples that change in none."""
    found = np.array(values, np.float32)
    return found[:, found.any(0)]


def _turns(counts: Sequence[int], alpha: float) -> list[Singles]:
    """Signs for the examples of each sample, (examples, turns); the first turn is none."""
    total = sum(counts)
    if total <= FEW:
        signs = 1 - 2 * ((np.arange(2**total) >> np.arange(total)[:, None]) & 1)
    else:
        number = int(min(MOST, max(LEAST, PER_ALPHA / alpha)))
        signs = 1 - 2 * np.random.default_rng(0).integers(2, size=(total, number), dtype=np.int8)
        signs[:, 0] = 1
    return np.split(signs.astype(np.float32), np.cumsum(counts)[:-1].tolist()) if counts else []


def _weights(
    rows: Sequence[tuple[tuple[int, ...], tuple[int, ...] | None]], place: Mapping[int, int]
) -> sparse.csr_array:
    """What every cell of a sample counts in every sum: 1, and if it is one that is set against, a share of -1."""
    entries = [(at, place[c], 1.0) for at, (cells, _) in enumerate(rows) for c in cells if c in place]
    entries += [(at, place[c], -1 / len(by)) for at, (_, by) in enumerate(rows) if by for c in by if c in place]
    at, cell, value = zip(*entries, strict=True) if entries else ((), (), ())
    return sparse.csr_array((np.array(value, float), (np.array(at, int), np.array(cell, int))), (len(rows), len(place)))


def _step_down(seen: Singles, null: Singles) -> Values:
    """P-values: the share of turns by which any of the totals that are no more extreme comes this far."""
    order = np.argsort(-seen, kind="stable")
    highest = np.maximum.accumulate(null[order][::-1], axis=0)[::-1]
    found = (highest >= seen[order][:, None] - CLOSE).mean(1)
    p = np.empty(len(seen))
    p[order] = np.maximum.accumulate(found)
    return p


def visible(count: int, squares: float, critical: float, *, answers: bool) -> float:
    """The smallest mean loss of `count` examples that would have been significant with a chance of `POWER`.

    `squares` is the sum of the squared net changes. Answers that are lost flip, and so add to the noise: with N answers
    and c = critical + z(POWER), (N loss)^2 = c^2 (squares + N loss).
    """
    c = critical + float(special.ndtri(POWER))
    own = c**2 if answers else 0.0
    return (own + math.sqrt(own**2 + 4 * c**2 * squares)) / (2 * count)
