"""Questions about seconds, latency and memory: ratios, on one kind of machine, against the noise of runs."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from scipy import special

from finefuse.judge.board.lines import Place
from finefuse.judge.frame import number
from finefuse.judge.gate.examples import line_text
from finefuse.judge.gate.policy import Limit, Policy
from finefuse.judge.gate.questions import Question, Tested
from finefuse.types import Record

NOISE = {"train_s": 0.2, "latency": 0.2, "memory": 0.1}
"""The standard deviation of a logarithm from run to run, where nobody measured it: that of hosted runners."""
BESIDE = 0.7
"""The same for what was taken beside other work."""
USUAL = 2.0
"""Standard deviations of the noise within which a time or memory is called unchanged."""
FLOORS = {"train_s": 0.05, "latency": 5e-5, "memory": 2**20}
"""Seconds and bytes that are added to both: less than this is measured too coarsely for a ratio."""
_SAME = ("machine", "device", "costs", "threads")


def questions(pairs: Sequence[tuple[Record, Record]], policy: Policy, over: Counter[str]) -> Iterator[Question]:
    """One per line and measurement; `over` gets how many were passed over, by why."""
    lines: dict[tuple[Place, str, str], list[tuple[Record, Record]]] = defaultdict(list)
    for old, new in pairs:
        for measure, name in _measured(old):
            if not policy.limit(measure):
                continue
            if why := _apart(old, new):
                over[f"{measure} {why}"] += 1
            elif math.isnan(number(new, name)):
                over[f"{measure} not measured now"] += 1
            else:
                lines[Place.of(old), measure, name].append((old, new))
    for (place, measure, name), own in lines.items():
        yield _question(place, measure, name, own, policy)


def _measured(row: Record) -> Iterator[tuple[str, str]]:
    """What was measured in a row: the measure, and the field."""
    if row["kind"] == "time":
        yield from (("latency", name) for name in row if name.startswith("latency."))
    elif not row.get("given"):
        fields = (("train_s", "seconds"), ("memory", "peak_memory"))
        yield from ((measure, name) for measure, name in fields if not math.isnan(number(row, name)))


def _apart(old: Record, new: Record) -> str:
    """Why two measurements can't be compared."""
    differing = [name for name in _SAME if _surrounding(old, name) != _surrounding(new, name)]
    return f"on another {differing[0]}" if differing else ""


def _surrounding(row: Record, name: str) -> object:
    """What a row was measured on; of a device not the number, as the machine names the models."""
    value = row.get(name, 1)
    return str(value).partition(":")[0] if name == "device" else value


def _question(
    place: Place, measure: str, name: str, pairs: Sequence[tuple[Record, Record]], policy: Policy
) -> Question:
    """A test that the ratio is beyond the limit, normal on the logarithm: seeds of one run share its noise."""
    olds, news = ([number(row, name) for row in rows] for rows in zip(*pairs, strict=True))
    floor, limit = FLOORS[measure], policy.limit(measure) or Limit(0.0)
    ratios = [math.log((new + floor) / (old + floor)) for old, new in zip(olds, news, strict=True)]
    slower = sum(ratios) / len(ratios)
    beside = any(row.get("contended") for pair in pairs for row in pair)
    own = policy.noise.get(measure, NOISE[measure])
    noise = max(own, BESIDE) if beside and measure != "memory" else own
    base, new = sum(olds) / len(olds), sum(news) / len(news)
    least = math.log1p(limit.of(base) / base if base else 0.0)
    worse, better = (float(special.ndtr((least - side * slower) / noise)) for side in (1, -1))
    said = f"{math.exp(slower):.3g} times{', beside other work' if beside else ''}"
    calibrated = "measured" if measure in policy.noise else "assumed"
    said = f"{said}; {calibrated} noise of runs {100 * noise:.0f} %"
    tested = Tested(worse, better, 0.0, -math.expm1(slower), math.inf, noise, said=said)
    where = line_text(place)
    shown = measure if measure != "latency" else name
    return Question("line", where, shown, base, new, tested, limit, settled=abs(slower) <= USUAL * noise)
