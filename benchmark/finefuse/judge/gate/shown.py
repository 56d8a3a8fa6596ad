"""A comparison as people read it: short enough for a pull request, the same in Markdown and as plain text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from finefuse.judge.board import present
from finefuse.judge.gate.outcome import QUIET, SCOPES, Outcome, counted, scope_text
from finefuse.text import plain
from finefuse.types import Verdict

MOST = 20
"""Rows of the table; of what follows only the number is said."""
LONGEST = 1_000_000
"""Bytes of Markdown: GitHub refuses a summary of more than 1 MiB."""


def to_markdown(found: Outcome) -> str:
    """The outcome, what it rests on, and a short table of what is not unchanged."""
    parts = [f"# {_title(found)}"]
    if said := [*found.failures, *found.notes]:
        parts.append(present.bullets(said, "markdown"))
    parts.append(" ".join(_counts(found)))
    listed = to_list(found)
    if listed:
        parts.append(present.draw(table(listed[:MOST]), "markdown"))
    if len(listed) > MOST:
        parts.append(f"{len(listed) - MOST} more are not shown.")
    return cut("\n\n".join(parts))


def cut(markdown: str) -> str:
    """Markdown that isn't too long for a summary on GitHub."""
    data = markdown.encode("utf-8", "backslashreplace")
    if len(data) <= LONGEST:
        return markdown
    kept = data[:LONGEST].decode("utf-8", "ignore").rpartition("\n")[0]
    return f"{kept}\n\nThe rest is cut off: a summary may have no more than 1 MiB."


def to_text(found: Outcome) -> str:
    """The same without markup, one line each."""
    lines = [_title(found), *(f"- {said}" for said in (*found.failures, *found.notes)), *_counts(found)]
    listed = to_list(found)
    lines += ["  ".join(filter(None, map(str, row))) for row in table(listed[:MOST]).itertuples(index=False)]
    if len(listed) > MOST:
        lines.append(f"{len(listed) - MOST} more are not shown.")
    return "\n".join(map(plain, lines))


def to_list(found: Outcome) -> list[Verdict]:
    """The verdicts that are listed: all but what is unchanged or inconclusive, unless that is fatal."""
    loud = found.policy.fatal
    return [verdict for verdict in found.verdicts if verdict.judgement not in QUIET or verdict.judgement in loud]


def table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row per verdict."""
    rows = [
        (
            v.judgement,
            v.cell,
            v.measure,
            number(v.base),
            number(v.new),
            change(v),
            "" if math.isnan(v.p) else f"{v.p:.2g}",
            v.reason,
        )
        for v in verdicts
    ]
    return pd.DataFrame(rows, columns=["verdict", "cell", "measure", "base", "new", "change", "p", "reason"])


def number(value: float) -> str:
    """A value with four significant digits; empty where there is none."""
    if math.isnan(value):
        return ""
    return f"{value:.4f}" if 0.001 <= abs(value) < 1000 or not value else f"{value:.4g}"


def change(verdict: Verdict) -> str:
    """By how much the value changed; where there are no values, by which share the loss fell or grew."""
    if math.isnan(verdict.base) or math.isnan(verdict.new):
        return "" if math.isnan(verdict.change) else f"{100 * verdict.change:+.2g} %"
    differing = verdict.new - verdict.base
    return f"{differing:+.4f}" if 0.001 <= abs(differing) < 1000 or not differing else f"{differing:+.4g}"


def _title(found: Outcome) -> str:
    return f"{'passed' if found.passed else 'FAILED'}: {plain(found.new)} against {plain(found.base)}"


def _counts(found: Outcome) -> Iterator[str]:
    """How many of what, and what could have been seen."""
    (before, planned), (now, wanted) = found.coverage
    for scope in reversed(SCOPES[1:]):
        chosen = found.cells if scope == "cell" else found.lines
        if counts := counted(chosen):
            yield f"{scope_text(scope).capitalize()}: {', '.join(f'{n} {j}' for j, n in counts.items())}."
    if (now, wanted) != (wanted, planned) or before != planned:
        yield f"Of the planned cells {now} of {wanted} are ok, {before} of {planned} in the base."
    yield from map(str, found.resolution)
    if found.passed_over:
        listed = "; ".join(f"{count} of {why}" for why, count in found.passed_over.items())
        yield f"Passed over: {listed}."
