"""Answers about the ranking metric, from how each test example went: of all cells, of lines, and of single cells."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from finefuse.judge.board.lines import Place
from finefuse.judge.frame import correctness, losses, number
from finefuse.judge.gate.flips import Change, Joint, Total, joint_test, visible
from finefuse.judge.gate.policy import Limit, Policy
from finefuse.judge.gate.questions import Answer, Question, Tested, answer, quantile
from finefuse.judge.outcomes import CLOSE
from finefuse.types import Cell, Record, Scope, line_name

LEAD = {"comparison": 0.5, "line": 0.25, "cell": 0.0}
"""What totals of many cells are ahead of those of single cells: standard deviations, chosen by studies/gate."""
BEYOND = {True: 0.05, False: 0.5}
"""The mean loss of all that comes from one pretrained network that its other bits alone don't explain: of answers, and
as a share of the loss."""


class Family(NamedTuple):
    """What can be added up: answers or losses, of one metric, of single data sets or of pools across several."""

    answers: bool
    measure: str
    crossing: bool


@dataclass(frozen=True)
class Compared:
    """Two rows of one cell with results per example; `at` numbers them.

    `covers` is the metric that the examples answer for, `root` says that it is the root of their mean, and `fed` names
    the pretrained network whose bits alone changed.
    """

    at: int
    cell: Cell
    old: Record
    new: Record
    change: Change
    family: Family
    covers: str
    root: bool
    fed: str

    def score(self, row: Record) -> float:
        """What examples say of a row: the share of right answers, the metric that rests on losses, or their mean."""
        if self.family.answers:
            return float(correctness(row).mean())
        return number(row, f"test.{self.covers}") if self.covers else float(losses(row).mean())


class _Asked(NamedTuple):
    scope: Scope
    where: str
    cells: tuple[int, ...]
    against: tuple[int, ...] = ()


def by_example(at: int, cell: Cell, old: Record, new: Record, fed: str) -> Compared | None:
    """How each example went; None where one of two rows doesn't say so."""
    if old.get("correct") and new.get("correct"):
        before, now = correctness(old), correctness(new)
        values, answers = now.astype(np.float64) - before, True
        means = float(before.mean()), float(now.mean())
    elif old.get("losses") and new.get("losses"):
        one, two = losses(old), losses(new)
        if not (np.isfinite(one).all() and np.isfinite(two).all()):
            return None
        values, answers = (one - two) / (float(abs(one.mean())) or 1.0), False
        means = float(one.mean()), float(two.mean())
    else:
        return None
    how = {metric: _rests(metric, (old, new), means, answers) for metric in old["metrics"]}
    covers = next(filter(how.get, how), "")
    measure = covers or ("right answers" if answers else "losses")
    family = Family(answers, measure, bool(old.get("tasks")))
    return Compared(at, cell, old, new, Change(old["dataset"], values), family, covers, how.get(covers) == "root", fed)


def _rests(metric: str, rows: Sequence[Record], means: Sequence[float], answers: bool) -> Literal["mean", "root", ""]:
    """Whether a metric is the mean over examples in both rows, or of losses the root of that."""
    scores = [number(row, f"test.{metric}") for row in rows]
    near = [abs(s - m) <= CLOSE * abs(s) for s, m in zip(scores, means, strict=True)]
    root = [m >= 0 and abs(s - math.sqrt(max(m, 0))) <= CLOSE * abs(s) for s, m in zip(scores, means, strict=True)]
    return "mean" if all(near) else "root" if all(root) and not answers else ""


def answers(compared: Sequence[Compared], policy: Policy) -> list[Answer]:
    """One for the whole comparison, one for every line with several seeds, and one for every cell, settled together.

    What comes from a pretrained network of other bits shares what these do, so it isn't added up: its cells must be
    worse than before, and worse than their siblings.
    """
    asked = [one for one in _asked(compared) if policy.limit(compared[one.cells[0]].family.measure)]
    if not asked:
        return []
    totals = [Total(one.cells, one.against, LEAD[one.scope]) for one in asked]
    joint = joint_test([one.change for one in compared], totals, policy.alpha * policy.shares["examples"])
    return [_answer(i, one, joint, compared, policy) for i, one in enumerate(asked)]


def _asked(compared: Sequence[Compared]) -> Iterator[_Asked]:
    lines: dict[tuple[Place, Family], list[int]] = defaultdict(list)
    families: dict[Family, list[int]] = defaultdict(list)
    siblings: dict[tuple[str, Family, str], list[int]] = defaultdict(list)
    for i, one in enumerate(compared):
        if one.fed:
            siblings[one.fed, one.family, one.old["examples"]].append(i)
        else:
            lines[Place.of(one.old), one.family].append(i)
            families[one.family].append(i)
    for own in families.values():
        if len({Place.of(compared[i].old) for i in own}) > 1:
            yield _Asked("comparison", "all cells", tuple(own))
    for (place, _), own in lines.items():
        if len(own) > 1:
            yield _Asked("line", line_text(place), tuple(own))
    for i, one in enumerate(compared):
        near = siblings[one.fed, one.family, one.old["examples"]] if one.fed else []
        yield _Asked("cell", str(one.cell), (i,), tuple(sibling for sibling in near if sibling != i))


def line_text(place: Place) -> str:
    """A line of the board in a few words."""
    return f"{place.dataset}/{place.backbone}/{line_name(place.strategy, place.pool)}"


def _answer(i: int, asked: _Asked, joint: Joint, compared: Sequence[Compared], policy: Policy) -> Answer:
    own = [compared[cell] for cell in asked.cells]
    family = own[0].family
    count, nets = sum(len(one.change.values) for one in own), _nets(own)
    squares = sum(float(np.square(net).sum()) for net in nets)
    tested = _tested(nets, own, count)
    base, new = _means(own)
    limit = policy.limit(family.measure) or Limit(0.0)
    limit = limit if family.answers else policy.limit_of_values(family.measure)
    if asked.scope == "comparison" and not family.answers:
        base, new, limit = math.nan, math.nan, limit.share(one.score(one.old) for one in own)
    alone = own[0].fed and not asked.against
    p = (joint.better if tested.gain > 0 else joint.worse)[i] / policy.shares["examples"]
    seen = visible(count, squares, joint.critical - LEAD[asked.scope], answers=family.answers)
    if any(one.root for one in own):
        tested, seen = _of_root(tested), math.sqrt(1 + seen) - 1
    hidden = BEYOND[family.answers] if own[0].fed else 0.0
    question = Question(
        asked.scope,
        asked.where,
        family.measure,
        base,
        new,
        tested,
        limit,
        family.answers,
        ranking=True,
        cells=frozenset(one.at for one in own),
        better="higher" if family.answers else own[0].old.get(f"better.{family.measure}", "lower"),
    )
    return answer(question, 1.0 if alone else float(p), policy.alpha, max(seen, hidden))


def _means(own: Sequence[Compared]) -> tuple[float, float]:
    """The mean score before and now."""
    return float(np.mean([one.score(one.old) for one in own])), float(np.mean([one.score(one.new) for one in own]))


def _nets(own: Sequence[Compared]) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """The net change of every example, for each set of test examples."""
    sums: dict[object, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
    for one in own:
        sample, values = (one.change.sample, len(one.change.values)), one.change.values
        sums[sample] = sums[sample] + values if sample in sums else values
    return list(sums.values())


def _tested(
    nets: Sequence[np.ndarray[tuple[int], np.dtype[np.float64]]], own: Sequence[Compared], count: int
) -> Tested:
    """The mean change with its 95 % interval, as if one more answer had flipped; p-values come from the joint test."""
    gain = sum(float(net.sum()) for net in nets) / count
    more, fewer = (sum(int((sign * one.change.values > 0).sum()) for one in own) for sign in (-1, 1))
    least = 1.0 if all(one.change.same for one in own) else 0.0
    if own[0].family.answers:
        said = f"{more} of {count} answers lost, {fewer} won" if more + fewer else "the same examples right"
    else:
        said = f"losses higher on {more} of {count} examples, lower on {fewer}" if more + fewer else "the same losses"
    spread = sum(float(np.square(net - net.mean()).sum()) for net in nets) + own[0].family.answers
    half = quantile(0.975, math.inf) * math.sqrt(spread) / count
    return Tested(1.0, 1.0, least, gain, half, math.nan, said=said)


def _of_root(tested: Tested) -> Tested:
    """The same about the root of the mean loss, as a share of the base's."""
    left = max(0.0, 1 - tested.gain)
    return replace(tested, gain=1 - math.sqrt(left), half=math.sqrt(left + tested.half) - math.sqrt(left))


def fallen(compared: Sequence[Compared]) -> Iterator[str]:
    """A sentence for each pretrained network of other bits whose cells lost more than these explain."""
    groups: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for one in compared:
        if one.fed:
            groups[one.fed, one.family.answers].append(one.change.gain)
    for (fed, answers), gains in groups.items():
        if (lost := -float(np.mean(gains))) > BEYOND[answers]:
            unit = "points" if answers else "% of the loss"
            yield f"All that comes from the pretrained {fed} lost {100 * lost:.2g} {unit}: more than its bits do."
