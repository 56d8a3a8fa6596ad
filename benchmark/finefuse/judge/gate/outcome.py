"""The outcome of a comparison: every verdict, what was said on top, and whether it passes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from finefuse.judge.gate.policy import COVERAGE, NOISY, Excuse, Policy
from finefuse.types import Judgement, Scope, Verdict

SEVERITY: tuple[Judgement, ...] = get_args(Judgement)
"""All judgements, the worst first."""
SCOPES: tuple[Scope, ...] = get_args(Scope)
COMPARED = frozenset({"regressed", "improved", "unchanged", "inconclusive"})
QUIET = frozenset({"unchanged", "inconclusive", "skipped"})
"""Judgements that are counted and not listed, unless they are fatal."""


@dataclass(frozen=True)
class Problem:
    """Why a comparison can't be trusted, in one sentence; `kind` is what excuses it, empty for nothing."""

    kind: Excuse | None
    said: str


@dataclass(frozen=True)
class Resolution:
    """The smallest loss of all cells that would have been caught: of accuracy, in `points`, or as a share of a loss.

    `measure` is the ranking metric; the loss is infinite where nothing can be tested.
    """

    measure: str
    loss: float
    points: bool

    def __str__(self) -> str:
        if math.isinf(self.loss):
            return f"This comparison could not have caught any loss of {self.measure}."
        return (
            f"This comparison would have caught {100 * self.loss:.2g} {self.unit} of {self.measure} lost in all cells."
        )

    @property
    def unit(self) -> str:
        """What a hundredth of the loss is."""
        return "points" if self.points else "%"


@dataclass(frozen=True)
class Outcome:
    """All verdicts, the worst first, and the widest first among equals; `base` and `new` name the folders.

    `problems` fail it unless they are excused, `notes` are said on top, and `passed_over` has how many of what was not
    judged, by why. `left_out` are cells whose ranking metric isn't to be judged. `coverage` are rows that are ok and
    planned ones, of both.
    """

    base: str
    new: str
    verdicts: tuple[Verdict, ...]
    policy: Policy = field(default_factory=Policy)
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0
    resolution: tuple[Resolution, ...] = ()
    coverage: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))

    @property
    def cells(self) -> tuple[Verdict, ...]:
        """The verdicts on single cells: one for each, on its ranking metric."""
        return tuple(v for v in self.verdicts if v.scope == "cell" and v.measure != "latency")

    @property
    def lines(self) -> tuple[Verdict, ...]:
        """The verdicts on lines, their seeds together: one per measure."""
        return tuple(verdict for verdict in self.verdicts if verdict.scope == "line")

    @property
    def counts(self) -> dict[Judgement, int]:
        """How many cells got each judgement, those that occur."""
        return counted(self.cells)

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """Why it fails, a sentence for each reason; empty if it passes."""
        return (*self.doubts, *self._fatal())

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why it fails whatever the verdicts are, a sentence for each reason."""
        found = [problem.said for problem in self.problems if problem.kind not in self.policy.excused]
        rest = [verdict for verdict in self.verdicts if _of_cells(verdict)] if self.left_out else self.cells
        if not COMPARED & counted(rest).keys():
            found.append("No cell could be compared, so nothing was checked.")
        return (*found, *self._unresolved())

    def _fatal(self) -> Iterator[str]:
        for scope in SCOPES:
            counts = counted([verdict for verdict in self.verdicts if verdict.scope == scope])
            fatal = [f"{n} {judgement}" for judgement, n in counts.items() if judgement in self.policy.fatal]
            if fatal:
                yield f"Of {scope_text(scope)}: {', '.join(fatal)}."

    def _unresolved(self) -> Sequence[str]:
        wanted = self.policy.resolve
        if wanted is None:
            return ()
        if not self.resolution:
            return ("Nothing tells which loss would have been caught, and one was to be.",)
        blind = [found for found in self.resolution if found.loss > wanted.amount]
        return tuple(f"{found} {100 * wanted.amount:.2g} {found.unit} were to be visible." for found in blind)


def _of_cells(verdict: Verdict) -> bool:
    """Whether a verdict rests on results of cells, and not on times or on how many cells there are."""
    return verdict.measure.partition(".")[0] not in (*NOISY, COVERAGE)


def counted(verdicts: Sequence[Verdict]) -> dict[Judgement, int]:
    """How many there are of each judgement that occurs, the worst first."""
    counts = Counter(verdict.judgement for verdict in verdicts)
    return {judgement: counts[judgement] for judgement in SEVERITY if counts[judgement]}


def scope_text(scope: Scope) -> str:
    """What verdicts of a scope are about."""
    return {"comparison": "everything together", "line": "lines", "cell": "cells"}[scope]


def ordered(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """The worst first, and among equals the widest."""
    return tuple(sorted(verdicts, key=lambda v: (SEVERITY.index(v.judgement), SCOPES.index(v.scope))))
