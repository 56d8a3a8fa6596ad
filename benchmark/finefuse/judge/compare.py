"""Two results folders: what got worse, what got better, and whether the gate passes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from finefuse.judge.frame import correctness, number
from finefuse.judge.gate import amounts, calibration, examples, metrics, pairs, times
from finefuse.judge.gate.calibration import Calibration, Setting
from finefuse.judge.gate.comparison import Comparison
from finefuse.judge.gate.error_rate import IN_PAIRS
from finefuse.judge.gate.examples import Compared, by_example
from finefuse.judge.gate.outcome import COMPARED, SEVERITY, Problem, Resolution, ordered
from finefuse.judge.gate.policy import COVERAGE, FATAL, Policy, read_policy
from finefuse.judge.gate.questions import Answer, settle
from finefuse.judge.gate.sides import Side, all_cells, read_side, refuse_empty, untested
from finefuse.judge.gate.surroundings import (
    fed_by,
    other_bases,
    other_machines,
    other_parameters,
    other_settings,
    other_versions,
)
from finefuse.types import Cell, Judgement, Record, Verdict

__all__ = ["COMPARED", "FATAL", "SEVERITY", "Comparison", "compare"]


@dataclass
class _Found:
    """What the cells of both folders come to before anything is tested."""

    verdicts: list[Verdict] = field(default_factory=list)
    pairs: list[tuple[Record, Record]] = field(default_factory=list)
    timed: list[tuple[Record, Record]] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)
    over: Counter[str] = field(default_factory=Counter)


def compare(base: Path, new: Path, further: Sequence[tuple[Path, Path]] = (), /, **given: Any) -> Comparison:
    """Judge every cell, every line with its seeds together, and all of it together, in `new` against `base`.

    `further` are folders of the same two runs again, in pairs: if there are any, times are judged by all pairs and not
    against noise. `given` are keys of a suite's table `[gate]`, which they change. See docs/ci.md for what each
    judgement means.

    Raises:
        FinefuseError: if a limit or level makes no sense.
        StoreError: if a folder can't be read, or the base has no row to compare with.
    """
    old, now = read_side(base), read_side(new)
    refuse_empty(old)
    policy = read_policy(now.gate or old.gate, given)
    policy.refuse_unknown(metrics.measures([*old.rows.values(), *now.rows.values()]) | {"right answers", "losses"})
    bases = other_bases(old, now)
    found = _sort(old, now, bases)
    policy.refuse_wide({COVERAGE, *(one.family.measure for one in found.compared if one.family.answers)})
    runs = pairs.read_runs([(base, new), *further]) if further else ()
    policy = replace(policy, shares=IN_PAIRS) if runs else policy
    both = found.pairs + found.timed
    calibrated = {} if runs else calibration.known(row for pair in both for row in pair)
    answers = [*_scores(found, bases, policy), *_times(found, runs, policy, calibrated)]
    verdicts = [*found.verdicts, *(answer.verdict for answer in answers), *amounts.verdicts(found.pairs, policy)]
    coverage = _coverage(old), _coverage(now)
    problems = [*_problems(old, now, found, both), *(Problem(None, said) for said in pairs.lost(runs))]
    excused = [problem.said for problem in problems if problem.kind in policy.excused]
    rests = [one.sentence() for one in calibrated.values() if not one.noise.keys() <= policy.noise.keys()]
    return Comparison(
        str(base),
        str(new),
        ordered([*verdicts, *_covered(*coverage, policy)]),
        policy,
        problems=tuple(problems),
        notes=(*excused, *_notes(old, now, bases, both), *rests, *pairs.notes(runs, answers)),
        passed_over=dict(found.over.most_common()),
        left_out=sum(policy.limit(one.family.measure) is None for one in found.compared),
        resolution=tuple(_resolution(answers)),
        coverage=coverage,
    )


def _sort(old: Side, new: Side, bases: Sequence[str]) -> _Found:
    """Which cells get a judgement at once, and which are to be tested, by what."""
    found, absent = _Found(), set(new.absent)
    for cell in all_cells(old, new):
        one, two = old.rows.get(cell), new.rows.get(cell)
        judgement, reason = untested(one, two, planned=cell in absent)
        if judgement is None and one and two:
            assert isinstance(cell, Cell)
            if cell.kind == "time":
                found.timed.append((one, two))
                continue
            found.pairs.append((one, two))
            if tested := by_example(len(found.pairs) - 1, cell, one, two, fed_by(one, bases)):
                found.compared.append(tested)
                continue
            judgement, reason = _by_line(one, two)
        found.verdicts.append(_told(cell, one, two, judgement or "unchanged", reason))
    return found


def _told(cell: Cell | str, old: Record | None, new: Record | None, judgement: Judgement, reason: str) -> Verdict:
    """The verdict on a cell that needs no test."""
    measure = "latency" if isinstance(cell, Cell) and cell.kind == "time" else ""
    ranked = next((row for row in (old, new) if row and row.get("metrics")), None)
    higher = ranked is not None and (ranked.get("correct") or ranked[f"better.{ranked['metrics'][0]}"] == "higher")
    told = Verdict(str(cell), judgement, _score(old), _score(new), math.nan, reason, measure)
    return replace(told, better="higher" if higher else "lower")


def _by_line(old: Record, new: Record) -> tuple[Judgement, str]:
    """The judgement of two good rows that don't both say how each example went."""
    if old.get("outputs") and old.get("outputs") == new.get("outputs"):
        return "unchanged", "the same outputs"
    if any(bool(old.get(name)) != bool(new.get(name)) for name in ("correct", "losses")):
        return "not-comparable", "only one of the two says how each example went"
    return "inconclusive", "no finite results per example: only its line is tested, over seeds"


def _scores(found: _Found, bases: Sequence[str], policy: Policy) -> list[Answer]:
    covered = {one.at: one.covers for one in found.compared}
    fed = {i: base for i, (old, _) in enumerate(found.pairs) if (base := fed_by(old, bases))}
    others = list(metrics.questions(found.pairs, covered, fed, policy))
    return [*examples.answers(found.compared, policy), *settle("metric", others, policy)]


def _times(found: _Found, runs: pairs.Runs, policy: Policy, calibrated: Mapping[Setting, Calibration]) -> list[Answer]:
    if runs:
        return pairs.answers(runs, policy, found.over)
    return settle("time", list(times.questions(found.pairs + found.timed, policy, found.over, calibrated)), policy)


def _problems(old: Side, new: Side, found: _Found, both: Sequence[tuple[Record, Record]]) -> Sequence[Problem]:
    """What makes the comparison itself doubtful."""
    told = [_lacking(side, name) for side, name in ((old, "baseline"), (new, "new results")) if side.lacking]
    fresh = sum(verdict.judgement == "new" and verdict.reason == "not in the base" for verdict in found.verdicts)
    if fresh and not old.planned:
        told.append(f"The baseline has no plan.json, so nothing says that it is whole: {fresh} cells are not in it.")
    problems = [Problem("plan", said) for said in told]
    if differing := other_settings(both):
        problems.append(Problem("settings", f"Settings differ: {'; '.join(differing)}."))
    if differing := other_versions(both):
        problems.append(Problem("versions", f"Versions differ: {'; '.join(differing)}."))
    return [*problems, *(Problem(None, said) for said in examples.fallen(found.compared))]


def _lacking(side: Side, name: str) -> str:
    first = next(iter(side.absent or side.lacking))
    count = len(side.lacking)
    return f"The plan of the {name} names {count} cell{'s' * (count > 1)} without a row, such as {first}."


def _notes(old: Side, new: Side, bases: Sequence[str], both: Sequence[tuple[Record, Record]]) -> Sequence[str]:
    """What a reader must know before the verdicts."""
    told = [
        f"The pretrained {base} has other bits, and its code doesn't differ: what comes from it shares one change, so "
        "it is not added up, and a loss in all of it alike can't be told from chance. `portable` results have the same "
        "bits on other machines."
        for base in bases
    ]
    if old.folder.resolve() == new.folder.resolve():
        told.append("Base and new are the same folder, so nothing was compared with anything else.")
    if differing := other_parameters(both):
        told.append(f"Parameters differ: {'; '.join(differing)}.")
    if differing := other_machines(both):
        told.append(f"Other machines: {'; '.join(differing)}.")
    if old.gate != new.gate:
        told.append("The table [gate] of the suite is not that of the baseline.")
    for side, name in ((old, "baseline"), (new, "new results")):
        if side.refused:
            told.append(f"Damaged lines of the {name} are ignored: {len(side.refused)}; the first: {side.refused[0]}")
    return told


def _resolution(answers: Sequence[Answer]) -> Sequence[Resolution]:
    """For every ranking metric the loss that each of its cells would have shown, in one of the tests it is part of."""
    best: dict[tuple[str, bool], dict[int, float]] = {}
    for answer in answers:
        question = answer.question
        if question.ranking:
            own = best.setdefault((question.measure, question.points), {})
            for cell in question.cells:
                own[cell] = min(own.get(cell, math.inf), answer.verdict.visible)
    return [Resolution(measure, max(own.values()), points) for (measure, points), own in best.items()]


def _coverage(side: Side) -> tuple[int, int]:
    """How many lines' cells are ok, and how many are planned."""
    lines = [row for cell, row in side.rows.items() if isinstance(cell, str) or cell.has_line]
    absent = sum(isinstance(cell, str) or cell.has_line for cell in side.absent)
    return sum(row["status"] == "ok" for row in lines), len(lines) + absent


def _covered(old: tuple[int, int], new: tuple[int, int], policy: Policy) -> Iterator[Verdict]:
    """The verdict on the share of planned cells that are ok, if it has a limit; what the base planned counts too."""
    planned = max(old[1], new[1])
    base, now = old[0] / old[1], new[0] / planned
    if limit := policy.limits.get(COVERAGE):
        worse = now < base and not limit.holds(base, now)
        said = f"{new[0]} of {planned} planned cells are ok"
        judgement: Judgement = "regressed" if worse else "unchanged"
        told = Verdict("all cells", judgement, base, now, math.nan, said, COVERAGE, "comparison", now - base)
        yield replace(told, better="higher")


def _score(record: Record | None) -> float:
    """Accuracy on the test set; without bits the ranking metric; NaN if there is no score."""
    if record is None or record["status"] != "ok" or not record.get("metrics"):
        return math.nan
    return (
        float(correctness(record).mean()) if record.get("correct") else number(record, f"test.{record['metrics'][0]}")
    )
