"""One question of a comparison: has this measure become worse here? And what its answer is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from scipy import special

from finefuse.judge.gate.error_rate import Level, adjusted, countable
from finefuse.judge.gate.flips import POWER
from finefuse.judge.gate.policy import Limit, Policy
from finefuse.types import Judgement, Scope, Verdict

ROUNDING = 1e-6
"""Gains that differ by no more, as shares of a score that may be computed in float32, are the same."""


@dataclass(frozen=True)
class Tested:
    """A test: one-sided p-values, the smallest possible one, the mean `gain` and half of its 95 % interval.

    `noise` is the standard error, `freedom` infinite for the normal distribution.
    """

    worse: float
    better: float
    least: float
    gain: float
    half: float
    noise: float
    freedom: float = math.inf
    said: str = field(default="", compare=False)


@dataclass(frozen=True)
class Question:
    """A test, and what it is about.

    `base` and `new` are means of the measure where that makes sense, else NaN. `limit` is what doesn't matter; with
    `points` it is one of the measure itself, even where `gain` is a share. `ranking` says that it is about the metric
    that ranks, of the rows that `cells` number. `beyond` says why it is a regression whatever the test says, and
    `settled` that what isn't significant is unchanged.
    """

    scope: Scope
    where: str
    measure: str
    base: float
    new: float
    tested: Tested
    limit: Limit
    points: bool = False
    ranking: bool = False
    cells: frozenset[int] = field(default_factory=frozenset)
    beyond: str = ""
    settled: bool = False
    better: Literal["higher", "lower"] = "lower"

    @property
    def inside(self) -> bool:
        """Whether the change is one that doesn't matter."""
        if math.isfinite(self.base) and math.isfinite(self.new):
            return self.limit.holds(self.base, self.new)
        return abs(self.tested.gain) <= self.limit.amount

    @property
    def surely_inside(self) -> bool:
        """Whether the whole 95 % interval is."""
        margin = self.limit.of(self.base) if self.points else self.limit.share([self.base]).amount
        return abs(self.tested.gain) + self.tested.half <= margin


@dataclass(frozen=True)
class Answer:
    """A question with its verdict, which says the smallest loss that would have been caught."""

    question: Question
    verdict: Verdict


def settle(level: Level, questions: Sequence[Question], policy: Policy, part: float = 1.0) -> list[Answer]:
    """Answer questions of a level with its share of alpha, or with a `part` of that, by Holm's method."""
    alpha, share = policy.alpha, policy.shares[level] * part
    tests = [question.tested for question in questions]
    least = [test.least for test in tests]
    worse, better = (
        adjusted(ps, least, alpha * share) for ps in ([test.worse for test in tests], [test.better for test in tests])
    )
    own = alpha * share / max(1, len(countable(least, alpha * share)))
    return [
        answer(
            question, (better if question.tested.gain > 0 else worse)[i] / share, alpha, _visible(level, question, own)
        )
        for i, question in enumerate(questions)
    ]


def answer(question: Question, p: float, alpha: float, visible: float) -> Answer:
    """The answer to a question, given the p-value after all corrections."""
    p = min(1.0, p)
    judgement, reason = _judged(question, p, alpha)
    about = question.measure, question.scope, question.tested.gain, visible, question.better
    return Answer(question, Verdict(question.where, judgement, question.base, question.new, p, reason, *about))


def _judged(question: Question, p: float, alpha: float) -> tuple[Judgement, str]:
    tested = question.tested
    if question.beyond:
        return "regressed", question.beyond
    if p <= alpha:
        if question.inside:
            return "unchanged", f"{tested.said}; significant, but within the limit of {question.limit}"
        return ("improved" if tested.gain > 0 else "regressed"), tested.said
    if question.settled or (tested.least == 1 and not tested.gain) or question.surely_inside:
        return "unchanged", tested.said
    return "inconclusive", tested.said


def _visible(level: Level, question: Question, alpha: float) -> float:
    """The smallest loss that would have been significant at `alpha`, one-sided, with a chance of `POWER`.

    The noise of times is that of logarithms, beyond the limit.
    """
    noise, freedom = question.tested.noise, question.tested.freedom
    if not math.isfinite(noise):
        return math.inf
    seen = noise * sum(quantile(chance, freedom) for chance in (1 - alpha, POWER))
    return math.expm1(seen + math.log1p(question.limit.share([question.base]).amount)) if level == "time" else seen


def over_seeds(gains: Sequence[float], said: str) -> Tested:
    """Student's t test of one gain per seed; of a single seed, or of seeds that all gain the same, nothing can be told.

    Seeds that each lose one answer of few have no spread, which is chance as often as not.
    """
    mean, n = math.fsum(gains) / len(gains), len(gains)
    if max(gains) - min(gains) <= ROUNDING:
        return Tested(1.0, 1.0, 1.0, mean, math.inf, math.inf, said=said)
    noise = math.sqrt(math.fsum((gain - mean) ** 2 for gain in gains) / (n - 1) / n)
    worse, better = (float(special.stdtr(float(n - 1), side * mean / noise)) for side in (1, -1))
    return Tested(worse, better, 0.0, mean, quantile(0.975, n - 1) * noise, noise, n - 1, said)


def quantile(level: float, freedom: float) -> float:
    """Of Student's t distribution, normal for infinite `freedom`."""
    return float(special.ndtri(level) if math.isinf(freedom) else special.stdtrit(float(freedom), level))
