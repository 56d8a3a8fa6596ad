"""Questions about seconds, latency and memory: ratios, on one kind of machine, against the noise of runs."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from scipy import special

from finefuse.judge.board.lines import Place
from finefuse.judge.frame import number
from finefuse.judge.gate.calibration import NOISE, Calibration, Setting
from finefuse.judge.gate.examples import line_text
from finefuse.judge.gate.policy import Limit, Policy
from finefuse.judge.gate.questions import Question, Tested
from finefuse.judge.gate.sides import latencies
from finefuse.types import Record

TIMES = {"train_s": "seconds", "memory": "peak_memory"}
"""The fields of rows by the names of these measures; latencies have one per batch size."""
BESIDE = 0.7
"""The least noise of what was slowed by other work."""
USUAL = 2.0
"""Standard deviations of the noise within which a time or memory is called unchanged."""
FLOORS = {"train_s": 0.05, "latency": 5e-5, "memory": 2**24}
"""Seconds and bytes that are added to both: less than this is measured too coarsely for a ratio.

The same job on a CPU grew by 18 MiB in one run and by 31 in another, by what its process had done before."""
_SAME = ("machine", "device", "costs", "threads")
Pairs = Sequence[tuple[Record, Record]]


def questions(
    pairs: Pairs, policy: Policy, over: Counter[str], calibrated: Mapping[Setting, Calibration]
) -> Iterator[Question]:
    """One per line and measurement; `over` gets how many were passed over, by why."""
    for (place, measure, name), own in _lines(pairs, over, policy).items():
        yield _question(place, measure, name, own, policy, calibrated)


def ratios(pairs: Pairs) -> Iterator[tuple[str, float, bool]]:
    """The measure of each line and measurement, the logarithm of its ratio, and whether other work disturbed it."""
    for (_, measure, name), own in _lines(pairs, Counter()).items():
        yield measure, _slower(measure, name, own), _disturbed(measure, own)


def _lines(
    pairs: Pairs, over: Counter[str], policy: Policy | None = None
) -> Mapping[tuple[Place, str, str], list[tuple[Record, Record]]]:
    """The rows of each line that a measurement can be compared in, by line, measure and field."""
    lines: dict[tuple[Place, str, str], list[tuple[Record, Record]]] = defaultdict(list)
    for old, new in pairs:
        for measure, name in _measured(old):
            if policy and not policy.limit(measure):
                continue
            if why := _apart(old, new):
                over[f"{measure} {why}"] += 1
            elif math.isnan(number(new, name)):
                over[f"{measure} not measured now"] += 1
            else:
                lines[Place.of(old), measure, name].append((old, new))
    return lines


def _measured(row: Record) -> Iterator[tuple[str, str]]:
    """What was measured in a row: the measure, and the field."""
    if row["kind"] == "time":
        yield from (("latency", name) for name in latencies(row))
    elif not row.get("given"):
        yield from ((measure, name) for measure, name in TIMES.items() if not math.isnan(number(row, name)))


def _apart(old: Record, new: Record) -> str:
    """Why two measurements can't be compared."""
    differing = [name for name in _SAME if _surrounding(old, name) != _surrounding(new, name)]
    return f"on another {differing[0]}" if differing else ""


def _surrounding(row: Record, name: str) -> object:
    """What a row was measured on; of a device not the number, as the machine names the models."""
    value = row.get(name, 1)
    return str(value).partition(":")[0] if name == "device" else value


def _slower(measure: str, name: str, pairs: Pairs) -> float:
    """The mean logarithm of the ratios of one measurement."""
    floor = FLOORS[measure]
    found = [math.log((number(new, name) + floor) / (number(old, name) + floor)) for old, new in pairs]
    return math.fsum(found) / len(found)


def _beside(rows: Sequence[Sequence[Record]]) -> bool:
    """Whether any of them was taken beside other work."""
    return any(bool(row.get("contended")) for own in rows for row in own)


def _disturbed(measure: str, rows: Sequence[Sequence[Record]]) -> bool:
    """Whether other work may have moved a measure: memory is what it is beside other work too."""
    return measure != "memory" and _beside(rows)


def noise_of(
    measure: str, rows: Sequence[Sequence[Record]], policy: Policy, calibrated: Mapping[Setting, Calibration]
) -> tuple[float, str]:
    """The noise of a measure of rows of one kind of machine, and how that is known."""
    own = calibrated.get(Setting.of(rows[0][0]))
    if measure in policy.noise:
        noise, known = policy.noise[measure], "measured"
    elif own and measure in own.noise:
        noise, known = own.noise[measure], "calibrated"
    else:
        noise, known = NOISE[measure], "assumed"
    return max(noise, BESIDE) if _disturbed(measure, rows) else noise, known


def _question(
    place: Place, measure: str, name: str, pairs: Pairs, policy: Policy, calibrated: Mapping[Setting, Calibration]
) -> Question:
    """A test that the ratio is beyond the limit, normal on the logarithm: seeds of one run share its noise."""
    olds, news = ([number(row, name) for row in rows] for rows in zip(*pairs, strict=True))
    limit, slower = policy.limit(measure) or Limit(0.0), _slower(measure, name, pairs)
    noise, known = noise_of(measure, pairs, policy, calibrated)
    base, new = sum(olds) / len(olds), sum(news) / len(news)
    least = math.log1p(limit.of(base) / base if base else 0.0)
    worse, better = (float(special.ndtr((least - side * slower) / noise)) for side in (1, -1))
    said = f"{math.exp(slower):.3g} times{', beside other work' if _beside(pairs) else ''}"
    said = f"{said}; {known} noise of runs {100 * noise:.0f} %"
    tested = Tested(worse, better, 0.0, -math.expm1(slower), math.inf, noise, said=said)
    where = line_text(place)
    shown = measure if measure != "latency" else name
    return Question("line", where, shown, base, new, tested, limit, settled=abs(slower) <= USUAL * noise)
