"""Numbers without noise, line by line: operations, parameters, bytes, steps. Any growth beyond the limit counts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from finefuse.judge.board.lines import Place
from finefuse.judge.frame import number
from finefuse.judge.gate.examples import line_text
from finefuse.judge.gate.policy import Limit, Policy
from finefuse.types import Record, Verdict

AMOUNTS = {
    "flops": "flops",
    "parameters": "parameters",
    "trainable": "trainable",
    "size": "bytes",
    "steps": "steps",
    "gradients": "gradients",
}
"""The fields of rows by the names of these measures; `size` is that of a file of the model."""


def verdicts(pairs: Sequence[tuple[Record, Record]], policy: Policy) -> Iterator[Verdict]:
    """One per line and amount, of those that are in the base."""
    lines: dict[Place, list[tuple[Record, Record]]] = defaultdict(list)
    for old, new in pairs:
        lines[Place.of(old)].append((old, new))
    for place, own in lines.items():
        for name, field in AMOUNTS.items():
            known = [(number(old, field), number(new, field)) for old, new in own]
            known = [(old, new) for old, new in known if not math.isnan(old)]
            if known and (limit := policy.limit(name)):
                yield _verdict(line_text(place), name, known, limit)


def _verdict(where: str, name: str, values: Sequence[tuple[float, float]], limit: Limit) -> Verdict:
    """Where the base's own seeds differ, as with methods that choose on val, only the largest of them is exceeded."""
    olds, news = zip(*values, strict=True)
    base, new = sum(olds) / len(olds), sum(news) / len(news)
    if math.isnan(new):
        return Verdict(where, "missing", base, new, math.nan, f"{name} is no longer known", name, "line")
    change = (base - new) / base if base else float(-math.inf if new else 0)
    highest = max(olds)
    if new > highest and not limit.holds(highest, new):
        reason = f"{_more(base, new)}; the limit is {limit}"
        return Verdict(where, "regressed", base, new, math.nan, reason, name, "line", change)
    better = new < min(olds) and not limit.holds(base, new)
    return Verdict(where, "improved" if better else "unchanged", base, new, math.nan, "", name, "line", change)


def _more(base: float, new: float) -> str:
    if not base:
        return "there was none"
    return f"{new / base:.3g} times as much" if new >= 1.1 * base else f"{100 * (new / base - 1):.2g} % more"
