"""`finefuse plan SUITE`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from finefuse.cli.options import Device, Only, Out, Plugins, Portable, Store, SuiteName
from finefuse.cli.printing import complain, say

if TYPE_CHECKING:
    from finefuse.engine.drive.outlook import Standing
    from finefuse.types import Cell, Job, Record

KIN = ("kind", "dataset", "backbone", "label", "pool")
"""The fields of a row whose seconds tell what a job may cost, from the most to the least important."""
LEFT = ("to run", "stale")


def plan(
    suite: SuiteName,
    why: Annotated[bool, typer.Option("--why", help="Say why a job is to run: what changed since its row.")] = False,
    device: Device = "auto",
    portable: Portable = False,
    out: Out = None,
    only: Only = None,
    plugin: Plugins = None,
    store: Store = None,
) -> None:
    """List the jobs of a suite, what is cached and what to run."""
    from finefuse import api
    from finefuse.engine.drive.outlook import state_of
    from finefuse.engine.store.artifacts import Artifacts, default_store
    from finefuse.records import Records, passed_over

    todo = api.plan(suite, device=device, only=only or (), plugins=plugin or (), portable=portable)
    records, refused = Records(out or Path("results") / todo.suite.name).read()
    for note in passed_over(refused):
        complain(note)
    standings = state_of(todo, records, Artifacts(store or default_store()))
    costs = estimate([standing.job for standing in standings if standing.state in LEFT], records)
    say(f"{todo.suite.name}: {totals(standings, costs)}\n")
    if todo.remarks:
        say(*todo.remarks, "")
    say(job_table(standings, costs, why=why))


def estimate(jobs: Sequence[Job], records: Sequence[Record]) -> dict[Cell, float]:
    """Seconds that jobs may take, by cell: the mean of such rows as are most alike; a kind never seen is left out."""
    seen: dict[tuple[str, ...], list[float]] = {}
    for row in records:
        if row["status"] == "ok" and row.get("seconds") is not None:
            for depth in range(1, len(KIN) + 1):
                seen.setdefault(tuple(str(row[field]) for field in KIN[:depth]), []).append(float(row["seconds"]))
    costs: dict[Cell, float] = {}
    for job in jobs:
        kin = tuple(str(getattr(job.place, field)) for field in KIN)
        alike = next((seen[kin[:depth]] for depth in range(len(KIN), 0, -1) if kin[:depth] in seen), None)
        if alike:
            costs[job.place] = fmean(alike)
    return costs


def totals(standings: Sequence[Standing], costs: Mapping[Cell, float]) -> str:
    """`84 jobs, 60 cached, 24 to run; about 2 min 5 s of compute`."""
    from finefuse.progress import duration

    counts = Counter(standing.state for standing in standings)
    states = [f"{count} {state}" for state, count in counts.most_common()]
    text = ", ".join([f"{len(standings)} job{'s' * (len(standings) != 1)}", *states])
    left = sum(standing.state in LEFT for standing in standings)
    if not left:
        return f"{text}; nothing to compute"
    unknown = left - len(costs)
    if not costs:
        return f"{text}; the cost is unknown until some have run"
    return f"{text}; about {duration(sum(costs.values()))} of compute{f', and {unknown} unknown' if unknown else ''}"


def job_table(standings: Sequence[Standing], costs: Mapping[Cell, float], *, why: bool) -> str:
    """One line per job."""
    from tabulate import tabulate

    from finefuse.progress import duration

    headers = ["key", "state", "cost", "cell", *(["why"] if why else [])]
    rows = []
    for standing in standings:
        job, cost = standing.job, costs.get(standing.job.place)
        left = standing.state in LEFT
        price = "" if not left else "?" if cost is None else duration(cost)
        rows.append((job.key[:8], standing.state, price, job.cell, *([standing.why] if why else [])))
    return tabulate(rows, headers, "plain", disable_numparse=True)
