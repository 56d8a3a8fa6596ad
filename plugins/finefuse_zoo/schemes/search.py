"""Search for the hyper-parameters of any scheme or fusion."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

from finefuse import NotApplicable, Ref
from finefuse.types import Spec, Told, Tuning

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

STARTUP = 4
"""Trials of TPE, the default one included, that are drawn at random before it learns from them."""
MOST = 1_000_000
"""Trials of one search; a plan holds fewer still."""
MARGIN = 0.05
"""Share of a range at either end that counts as its edge."""


@dataclass(frozen=True)
class Range:
    """`choices`, or all numbers from `low` to `high`: whole ones if both are whole; `log` spaces them by ratios."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        if self.choices is not None:
            if self.low is not None or self.high is not None or not self.choices:
                raise ValueError("a range has either low and high, or choices that are not empty")
            if len(set(map(repr, self.choices))) < len(self.choices):
                raise ValueError(f"a range has a choice twice: {list(self.choices)}")
        elif self.low is None or self.high is None or not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("a range needs low < high (above 0 if log = true), or choices")

    def points(self, count: int) -> list[Any]:
        """`count` values from end to end for a grid, or the choices."""
        if self.choices is not None or self.low is None or self.high is None:
            return list(self.choices or ())
        shares = [i / (count - 1) for i in range(count)] if count > 1 else [0.5]
        return list(dict.fromkeys(self.at(share) for share in shares))

    def at(self, share: float) -> Any:
        """The value at a share from 0 to 1 of the way from end to end."""
        if self.choices is not None or self.low is None or self.high is None:
            choices = self.choices or ()
            return choices[min(int(share * len(choices)), len(choices) - 1)]
        if share in (0, 1):
            return self.high if share else self.low  # to the last bit
        value = self.low * (self.high / self.low) ** share if self.log else self.low + (self.high - self.low) * share
        return min(max(round(value) if self.whole else value, self.low), self.high)

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole ones."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def size(self) -> float:
        """How many values there are, infinity for numbers that aren't whole."""
        if self.choices is not None or self.low is None or self.high is None:
            return len(self.choices or ())
        return self.high - self.low + 1 if self.whole else math.inf

    def at_edge(self, value: Any) -> bool:
        """Whether the best value lies where a wider range might have a better one, outside of it above all."""
        if self.choices is not None or self.low is None or self.high is None:
            return False
        if not isinstance(value, (int, float)) or (self.log and value <= 0):
            return isinstance(value, (int, float))
        scale = math.log if self.log else float
        share = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return not MARGIN <= share <= 1 - MARGIN

    def distribution(self) -> BaseDistribution:
        """The range as Optuna writes it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices is not None or self.low is None or self.high is None:
            return CategoricalDistribution(self.choices or ())
        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Search:
    """Try a scheme, or among fusions a fusion, with `trials` settings of its parameters, and keep what is best on val.

    Trial 0 is unchanged, so the board can show default beside tuned, and beside both, as a peek that never ranks, the
    trial that is best on test. `space` maps parameters to ranges, `{ low, high, log }` or `{ choices }`; without one
    that of the scheme or fusion itself is searched. Of members of several tasks, the mean score on val counts, each
    divided by that of the task's own model. `sampler` "tpe" (Bergstra et al. 2011)
    and "random" are Optuna's; "grid" divides every range into as many points as fit into the trials, draws the rest of
    them at random from the ranges, and where choices alone make more, draws of these. So there are `trials` with every
    sampler, and fewer only where a grid has no more settings. Every trial is a separate job; one that diverges scores
    lowest. Their seconds are part of the cost, and an optimum at or beyond the edge of its range is noted under the
    board, the default too.
    """

    of: Spec
    trials: Annotated[int, Ge(2), Le(MOST)] = 8
    space: dict[str, Range] = field(default_factory=dict)
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    nested: ClassVar[tuple[str, ...]] = ("of",)

    def tune(self, _on: Tuning) -> None:
        """Never called by the core, which makes a job of every trial."""
        raise NotApplicable("a search can't be part of another scheme")

    def plan(self, space: Mapping[str, Any]) -> Sequence[Sequence[int]]:
        """For every trial, the earlier ones it has to know of; `space` is the scheme's own."""
        ranges = self._ranges(space)
        if self.sampler == "grid":
            return [()] * (1 + int(min(self.trials - 1, math.prod(one.size for one in ranges.values()))))
        if self.sampler == "random":
            return [()] * self.trials
        return [range(trial) if trial >= STARTUP else range(0) for trial in range(self.trials)]

    def extremes(self, space: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Settings at the ends of the ranges, one parameter at a time, so that they can be checked beforehand."""
        return [{name: value} for name, one in self._ranges(space).items() for value in one.points(2)]

    def suggest(self, trial: int, told: Told, space: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """The parameters to try; none for the default."""
        ranges = self._ranges(space)
        if trial == 0:
            return {}
        if self.sampler == "grid":
            return self._grid(ranges, seed)[trial - 1]
        return self._ask_optuna(trial, told, ranges, seed)

    def at_edge(self, params: Mapping[str, Any], space: Mapping[str, Any]) -> list[str]:
        """Which of the chosen parameters lie at the edge of their range."""
        ranges = self._ranges(space)
        return [name for name, value in params.items() if name in ranges and ranges[name].at_edge(value)]

    def _ranges(self, space: Mapping[str, Any]) -> dict[str, Range]:
        found = self.space or {name: Range(**given) for name, given in space.items()}
        if not found:
            raise ValueError(f"{Ref.read(self.of)} has no space to search; give one")
        return found

    def _grid(self, ranges: Mapping[str, Range], seed: int) -> list[dict[str, Any]]:
        """All settings but the default: a full grid and what is drawn besides, or a draw of the choices' grid."""
        wanted = int(min(self.trials - 1, math.prod(one.size for one in ranges.values())))
        draw = random.Random(seed)
        points = _finest(list(ranges.values()), wanted)
        total = math.prod(map(len, points))
        picked = range(total) if total <= wanted else sorted(draw.sample(range(total), wanted))
        grid = [_combination(points, number) for number in picked]
        known = set(map(repr, grid))
        while len(grid) < wanted:
            values = tuple(one.at(draw.random()) for one in ranges.values())
            if repr(values) not in known:
                known.add(repr(values))
                grid.append(values)
        return [dict(zip(ranges, values, strict=True)) for values in grid]

    def _ask_optuna(self, trial: int, told: Told, ranges: Mapping[str, Range], seed: int) -> dict[str, Any]:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        space = {name: one.distribution() for name, one in ranges.items()}
        seed = (seed + trial) % 2**32
        sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed)
        if self.sampler == "tpe" and trial >= STARTUP:
            sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=1)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for params, value in told:
            if params and math.isfinite(value):
                study.add_trial(optuna.create_trial(params=dict(params), distributions=space, value=value))
        return dict(study.ask(space).params)


def _finest(ranges: Sequence[Range], most: int) -> list[list[Any]]:
    """Points of every range, as evenly many as `most` combinations allow; choices are all taken."""
    points = [one.points(1) for one in ranges]
    growing = {i for i, one in enumerate(ranges) if one.choices is None}
    while growing:
        i = min(growing, key=lambda i: len(points[i]))
        finer = ranges[i].points(len(points[i]) + 1)
        others = math.prod(len(p) for j, p in enumerate(points) if j != i)
        if len(finer) == len(points[i]) or others * len(finer) > most:
            growing.discard(i)
        else:
            points[i] = finer
    return points


def _combination(points: Sequence[Sequence[Any]], number: int) -> tuple[Any, ...]:
    """The combination of that number; the last range's values change fastest."""
    values: list[Any] = []
    for each in reversed(points):
        number, at = divmod(number, len(each))
        values.append(each[at])
    return tuple(reversed(values))
