"""Questions about all metrics that don't follow from single test examples, line by line, over seeds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from finefuse.judge.board.lines import Place
from finefuse.judge.frame import number
from finefuse.judge.gate.examples import line_text
from finefuse.judge.gate.policy import Limit, Policy
from finefuse.judge.gate.questions import Question, Tested, over_seeds
from finefuse.judge.gate.spread import Seeds, Spread, against, spreads
from finefuse.types import Record

TWICE = {"lower": 1.0, "higher": 0.5}
"""What is never taken for chance if it is so in every seed: twice as bad, as a share of the base's value."""
FARTHEST = 1e6
"""A change to or from infinity counts as this many times the base's value."""


class Score(NamedTuple):
    """One of the scores of a row: its field, and its metric."""

    field: str
    metric: str

    @property
    def measure(self) -> str:
        """What it is called: the metric, or with the further test set."""
        return self.field.removeprefix("test.")


Pairs = Sequence[tuple[Record, Record]]


def scores(row: Record) -> Iterator[Score]:
    """All scores of a row on test examples, further test sets too."""
    for metric in row["metrics"]:
        yield Score(f"test.{metric}", metric)
        for name in row:
            if name.startswith("also.") and name.endswith(f".{metric}"):
                yield Score(name, metric)


def questions(pairs: Pairs, covered: Mapping[int, str], fed: Mapping[int, str], policy: Policy) -> Iterator[Question]:
    """One per line and score, and one per score for all lines together.

    `covered` names the metric that a pair's examples already answer for, `fed` the pretrained network of other bits
    that it comes from, by position; such lines aren't added up.
    """
    lines: dict[tuple[Place, Score], list[int]] = defaultdict(list)
    for i, (old, _) in enumerate(pairs):
        for score in dict.fromkeys(scores(old)):
            if score.field != f"test.{covered.get(i)}" and policy.limit(score.measure):
                lines[Place.of(old), score].append(i)
    together: dict[Score, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    bases: dict[Score, list[float]] = defaultdict(list)
    apart = _spreads(lines, pairs)
    for (place, score), own in lines.items():
        chosen = [pairs[i] for i in own]
        if not any(math.isfinite(number(old, score.field)) for old, _ in chosen):
            continue
        gains = relative_gains(chosen, score)
        line = _of_line(place, score, chosen, gains, policy)
        line = replace(line, tested=against(line.tested, apart[score].get(place)))
        ranking = score.field == f"test.{pairs[own[0]][0]['metrics'][0]}"
        yield replace(line, ranking=ranking, cells=frozenset(own), better=chosen[0][0][f"better.{score.metric}"])
        if not any(i in fed for i in own):
            bases[score].append(line.base)
            for (old, _), gain in zip(chosen, gains, strict=True):
                together[score][old["seed"]].append(gain)
    for score, by_seed in together.items():
        if len(bases[score]) > 1 and any(gain for gains in by_seed.values() for gain in gains):
            yield _of_all(score, list(by_seed.values()), bases[score], policy)


def _spreads(lines: Mapping[tuple[Place, Score], Sequence[int]], pairs: Pairs) -> Mapping[Score, dict[Place, Spread]]:
    """How far seeds lie apart, by score and line, where all are finite."""
    seeds: dict[Score, dict[Place, Seeds]] = defaultdict(dict)
    for (place, score), own in lines.items():
        olds, news = ([number(pairs[i][side], score.field) for i in own] for side in (0, 1))
        scale = abs(sum(olds) / len(olds))
        if scale and all(map(math.isfinite, (*olds, *news))):
            seeds[score][place] = Seeds([old / scale for old in olds], [new / scale for new in news])
    return defaultdict(dict, {score: spreads(own) for score, own in seeds.items()})


def relative_gains(pairs: Pairs, score: Score) -> list[float]:
    """By how much each seed became better, as a share of the base's mean value."""
    olds, news = ([number(row, score.field) for row in rows] for rows in zip(*pairs, strict=True))
    finite = [abs(old) for old in olds if math.isfinite(old)]
    scale = sum(finite) / len(finite) or 1.0
    sign = -1 if pairs[0][0][f"better.{score.metric}"] == "lower" else 1
    return [_far(sign * (new - old) / scale) if new != old else 0.0 for old, new in zip(olds, news, strict=True)]


def _far(gain: float) -> float:
    return 0.0 if math.isnan(gain) else max(-FARTHEST, min(FARTHEST, gain))


def _of_line(place: Place, score: Score, pairs: Pairs, gains: Sequence[float], policy: Policy) -> Question:
    limit = policy.limit_of_values(score.measure)
    olds, news = ([number(row, score.field) for row in rows] for rows in zip(*pairs, strict=True))
    base, new = sum(olds) / len(olds), sum(news) / len(news)
    tested = over_seeds(gains, f"over {len(gains)} seeds" if len(gains) > 1 else "one seed")
    beyond = ""
    if gains and not limit.holds(base, new) and tested.gain < 0:
        beyond = _beyond(score, pairs, gains, limit, given=score.measure in policy.limits)
    if not any(gains):
        tested = Tested(1.0, 1.0, 1.0, 0.0, 0.0, math.inf, said="the same scores")
    return Question("line", line_text(place), score.measure, base, new, tested, limit, beyond=beyond)


def _beyond(score: Score, pairs: Pairs, gains: Sequence[float], limit: Limit, *, given: bool) -> str:
    """Why a line is worse whatever a test says; "" if that isn't so."""
    if all(_same_outputs(old, new) for old, new in pairs):
        return "the outputs are the same, and their score is not"
    infinite = [math.isinf(number(new, score.field)) for _, new in pairs]
    if any(gain < 0 and now for gain, now in zip(gains, infinite, strict=True)):
        return "infinite now"
    worst = TWICE[pairs[0][0][f"better.{score.metric}"]]
    if all(gain <= -worst for gain in gains):
        return f"twice as bad in every seed ({len(gains)})"
    if given and len(gains) == 1:
        return f"beyond the limit of {limit}, and one seed can't be tested"
    return ""


def _same_outputs(old: Record, new: Record) -> bool:
    fields = ("outputs", "correct", "losses")
    return bool(old.get("outputs")) and all(old.get(name) == new.get(name) for name in fields)


def _of_all(score: Score, by_seed: Sequence[Sequence[float]], bases: Sequence[float], policy: Policy) -> Question:
    said = f"{len(bases)} lines, over {len(by_seed)} seeds"
    tested = over_seeds([sum(gains) / len(gains) for gains in by_seed], said)
    limit = policy.limit_of_values(score.measure).share(bases)
    return Question("comparison", "all cells", score.measure, math.nan, math.nan, tested, limit)


def measures(rows: Iterable[Record]) -> set[str]:
    """The names of all scores."""
    return {score.measure for row in rows if row["status"] == "ok" and row.get("metrics") for score in scores(row)}
