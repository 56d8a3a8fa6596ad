"""What a comparison is judged by: margins for each measure, what fails it, and what it must be able to see."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from finefuse.errors import FinefuseError, did_you_mean
from finefuse.judge.gate.error_rate import SHARES, Level
from finefuse.types import Judgement

Excuse = Literal["settings", "versions", "plan"]
"""What may differ or be lacking once the maintainer has said so."""
FATAL: frozenset[Judgement] = frozenset({"regressed", "failed", "missing", "not-comparable"})
"""Judgements that fail a comparison unless it is told otherwise."""
OFF = "off"
_NUMBER = re.compile(r"\s*(\d+(?:\.\d*)?(?:e-?\d+)?|\.\d+)\s*(%|pp)?\s*", re.ASCII)


@dataclass(frozen=True)
class Limit:
    """A change that doesn't matter: `amount` of the measure itself, or of its value in the base if `relative`."""

    amount: float
    relative: bool = False

    @classmethod
    def read(cls, text: str | float) -> Limit:
        """A limit from "0.5pp" (percentage points), "20%" (of the base), or a plain number.

        Raises:
            FinefuseError: if it is none of these.
        """
        found = _NUMBER.fullmatch(str(text))
        if isinstance(text, bool) or not found:
            raise FinefuseError(f"{text!r} is no limit: write 0.5pp, 20% or a plain number from 0.")
        amount, unit = float(found[1]), found[2]
        return cls(amount / 100 if unit else amount, unit == "%")

    def holds(self, base: float, new: float) -> bool:
        """Whether a value changed by no more than this."""
        return abs(new - base) <= self.of(base) * (1 + 1e-9)

    def of(self, base: float) -> float:
        """The limit in the measure's own unit."""
        return self.amount * abs(base) if self.relative else self.amount

    def share(self, bases: Iterable[float]) -> Limit:
        """The same as a share of these values, in the mean; a plain number stays as it is where none is above 0."""
        shares = [self.of(base) / abs(base) for base in bases if base and math.isfinite(base)]
        return Limit(sum(shares) / len(shares) if shares else self.amount, True)

    def __str__(self) -> str:
        return f"{self.amount:.4g}" if not self.relative else f"{100 * self.amount:.4g}%"


COVERAGE = "coverage"
"""The share of planned cells that are ok: judged where it has a limit, for what may otherwise be missing."""
NOISY = ("train_s", "latency", "memory")
"""What is never the same twice, and is judged against the noise of runs."""
DEFAULTS: Mapping[str, Limit] = dict.fromkeys(
    ("flops", "parameters", "trainable", "size", "steps", "gradients", *NOISY), Limit(0.0, True)
)
"""Limits of what is no metric; metrics have the policy's margin."""
LEAST_ALPHA = 0.001
"""A smaller one could never be reached by turning signs as often as flips.py does."""


@dataclass(frozen=True)
class Policy:
    """How to judge.

    `alpha` is the chance of any false alarm, `margin` the change of a metric that doesn't matter, `resolve` the loss of
    the ranking metric that must have been visible. `limits` are margins by measure; None leaves a measure out. `fatal`
    judgements fail the comparison, and `excused` is what may differ. `noise` is the standard deviation of the logarithm
    of a time or of memory from one run to the next, by measure. `shares` say how alpha is divided.
    """

    alpha: float = 0.05
    margin: Limit = Limit(0.001)
    resolve: Limit | None = None
    limits: Mapping[str, Limit | None] = field(default_factory=dict)
    fatal: frozenset[Judgement] = FATAL
    excused: frozenset[Excuse] = frozenset()
    noise: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[Level, float] = field(default_factory=lambda: SHARES)

    def __post_init__(self) -> None:
        if not (0 < self.alpha < 1 and 0 <= self.margin.amount < 1):
            said = f"{self.alpha:g} and {self.margin.amount:g}"
            raise FinefuseError(f"alpha must lie between 0 and 1, and margin be 0 or more and below 1, not {said}.")
        if self.alpha < LEAST_ALPHA:
            raise FinefuseError(f"alpha must be {LEAST_ALPHA} or more, not {self.alpha:g}: nothing could reach that.")
        if self.resolve and self.resolve.amount >= 1:
            raise FinefuseError("resolve must be below 1, which is 100 points: one point is 1pp.")
        for name in self.noise:
            if name not in NOISY:
                listed = did_you_mean(name, NOISY) or f"; expected one of {', '.join(NOISY)}."
                raise FinefuseError(f"no noise is known by the name {name!r}{listed}")
        if wrong := [name for name, one in self.noise.items() if isinstance(one, str) or not 0 < one < math.inf]:
            raise FinefuseError(f"the noise of {wrong[0]} must be a number above 0.")

    def limit(self, measure: str) -> Limit | None:
        """The margin of a measure; None if it isn't judged."""
        return self.limits[measure] if measure in self.limits else DEFAULTS.get(measure, self.margin)

    def limit_of_values(self, measure: str) -> Limit:
        """The margin of a metric that is judged and may be of any size: the policy's is a share of the base's value."""
        return self.limits.get(measure) or Limit(self.margin.amount, True)

    def with_limits(self, given: Mapping[str, str | float]) -> Policy:
        """The same, with margins in text, such as {"accuracy": "0.5pp", "train_s": "off"}.

        Raises:
            FinefuseError: if one can't be read.
        """
        read = {name: None if text == OFF else _named(name, text) for name, text in given.items()}
        return replace(self, limits={**self.limits, **read})

    def failing(self, fatal: Iterable[str], allow: Iterable[str]) -> Policy:
        """The same, with more judgements that fail it and others, or differences, that no longer do.

        Raises:
            FinefuseError: if one is unknown, or a regression is to pass.
        """
        judgements, excuses = get_args(Judgement), get_args(Excuse)
        more, less = list(fatal), list(allow)
        for word, known in [*((w, judgements) for w in more), *((w, (*judgements, *excuses)) for w in less)]:
            if word not in known:
                listed = did_you_mean(word, known) or f"; expected one of {', '.join(known)}."
                raise FinefuseError(f"there is no judgement {word!r}{listed}")
        if "regressed" in less:
            raise FinefuseError("a regression can't be allowed: give its measure a wider limit, or `off`.")
        kept = (self.fatal | {j for j in judgements if j in more}) - {j for j in judgements if j in less}
        return replace(self, fatal=kept, excused=self.excused | {e for e in excuses if e in less})

    def refuse_unknown(self, measures: Iterable[str]) -> None:
        """Whether all limits are for something that is measured.

        Raises:
            FinefuseError: with the nearest name, if not.
        """
        known = sorted({*measures, *DEFAULTS, COVERAGE})
        for name in self.limits:
            if name not in known:
                listed = did_you_mean(name, known) or f"; expected one of {', '.join(known)}."
                raise FinefuseError(f"nothing is measured that is called {name!r}{listed}")

    def refuse_wide(self, shares: Iterable[str]) -> None:
        """Whether all limits of these measures, which lie between 0 and 1, can be exceeded.

        Raises:
            FinefuseError: if not.
        """
        for name in shares:
            limit = self.limits.get(name)
            if limit and limit.amount >= 1:
                raise FinefuseError(
                    f"{name}: a limit of {limit} lets everything pass, as it lies between 0 and 1: one point is 1pp."
                )


KEYS = ("alpha", "margin", "resolve", "fail_on", "fatal", "allow", "noise")
"""The keys of a suite's table `[gate]`."""


def read_policy(table: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Policy:
    """The policy of a suite's table `[gate]`, where `given` doesn't say otherwise.

    Raises:
        FinefuseError: if a value makes no sense.
    """
    given = {key: value for key, value in (given or {}).items() if value is not None}
    for key, value in (*table.items(), *given.items()):
        _check(key, value)
    both = {**table, **given}
    policy = Policy(
        alpha=both.get("alpha", Policy.alpha),
        margin=Limit.read(both.get("margin", Policy.margin.amount)),
        resolve=Limit.read(both["resolve"]) if "resolve" in both else None,
        noise={**table.get("noise", {}), **given.get("noise", {})},
    )
    limits = {**table.get("fail_on", {}), **given.get("fail_on", {})}
    policy = policy.with_limits(limits)
    for source in (table, given):
        policy = policy.failing(source.get("fatal", ()), source.get("allow", ()))
    return policy


def _check(key: str, value: object) -> None:
    """Whether a key of `[gate]` holds something of the right kind."""
    if key not in KEYS:
        listed = did_you_mean(key, KEYS) or f"; expected one of {', '.join(KEYS)}."
        raise FinefuseError(f"[gate] has no key {key!r}{listed}")
    numbers = isinstance(value, Mapping) and all(type(one) in (int, float, str) for one in value.values())
    texts = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
    good = {"fail_on": numbers, "noise": numbers, "fatal": texts, "allow": texts}
    if not good.get(key, type(value) in (int, float, *((str,) if key != "alpha" else ()))):
        raise FinefuseError(f"[gate] has {value!r} as {key}, which it can't be.")


def limits_of(texts: Iterable[str]) -> dict[str, str]:
    """Limits as the command line has them, `MEASURE:LIMIT`, by measure.

    Raises:
        FinefuseError: if one has no colon.
    """
    found = {}
    for text in texts:
        name, colon, limit = text.rpartition(":")
        if not (name and colon):
            raise FinefuseError(f"{text!r} names no limit: write MEASURE:LIMIT, such as accuracy:0.5pp.")
        found[name] = limit
    return found


def _named(name: str, text: str | float) -> Limit:
    try:
        return Limit.read(text)
    except FinefuseError as error:
        raise FinefuseError(f"{name}: {error}") from None
