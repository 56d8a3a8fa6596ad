"""What a fusion is chosen from, on val: a job for each of its `choices`, or for each trial of its search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from finefuse.declare.facts import Facts, piece
from finefuse.declare.lines import LineParts, Parts
from finefuse.declare.strategy import Strategy
from finefuse.types import Job, PluginKind

Lines = Callable[[PluginKind, Strategy], LineParts]


def trials_of(
    facts: Facts, fusion: Strategy, line: LineParts, lines: Lines, own: Parts, fields: dict[str, Any]
) -> list[Job]:
    """The trials of a `line`, in order; `lines` makes the one of another fusion, for each of the choices.

    `own` are the parts that they share, and `fields` those of their jobs.
    """
    trials: list[Job] = []
    for i, ref in enumerate(fusion.choices):
        trials.append(lines("fusion", replace(fusion, ref=ref)).job(own, kind="trial", trial=i, **fields))
    for i, known in enumerate(facts.trials(fusion.search, "fusion") if fusion.search else ()):
        told = {f"trial {k}": trials[k].artifact for k in known}
        more = {"trial": i, "trials": tuple(told.values())}
        trials.append(line.job(own | told | {"trial": piece(i)}, kind="trial", **more, **fields))
    return trials
