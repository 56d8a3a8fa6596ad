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
from finefuse.text import plain
from finefuse.types import Cell

if TYPE_CHECKING:
    from finefuse.engine.drive.outlook import Standing
    from finefuse.types import Job, Record

LEFT = ("to run", "stale")
BILLED = ("pretrain", "trial", "tune", "fuse")
"""Kinds of job whose rows have seconds: those of a strategy or of pretraining at work."""
ALIKE = 3
"""How many fields of its kin a job must share with a row: the same method and backbone, or the seconds say nothing."""


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
    whole = are_whole(records)
    say(f"{todo.suite.name}: {totals(standings, costs, whole=whole)}\n")
    if todo.remarks:
        say(*todo.remarks, "")
    say(job_table(standings, costs, why=why, whole=whole))


def estimate(jobs: Sequence[Job], records: Sequence[Record]) -> dict[Cell, float]:
    """Seconds that jobs may take, by cell: the mean of the rows most alike, of the same method and backbone.

    These are seconds of whole jobs, as far as rows have them. Else they are those of strategies, and a job that only
    picks one of several trials takes none. A job without such a row is left out.
    """
    whole = are_whole(records)
    seen: dict[tuple[str, ...], list[float]] = {}
    for row in records:
        seconds = row.get("job_seconds") if whole else row.get("seconds") if row["kind"] in BILLED else None
        picked = row.get("trials") is not None and not whole  # its seconds are those of the trials together
        if row["status"] == "ok" and seconds is not None and not picked:
            kin = _kin(Cell.of(row), row.get("use", ""))
            for depth in range(ALIKE, len(kin) + 1):
                seen.setdefault(kin[:depth], []).append(float(seconds))
    means = {kin: fmean(values) for kin, values in seen.items()}
    costs: dict[Cell, float] = {}
    for job in jobs:
        kin = _kin(job.place, job.strategy.name if job.strategy else "")
        alike = next((means[kin[:depth]] for depth in range(len(kin), ALIKE - 1, -1) if kin[:depth] in means), None)
        if _picks(job) and not whole:
            costs[job.place] = 0.0
        elif alike is not None and (whole or job.kind in BILLED):
            costs[job.place] = alike
    return costs


def are_whole(records: Sequence[Record]) -> bool:
    """Whether some rows say how long their whole job took; those of former versions don't."""
    return any(row.get("job_seconds") is not None for row in records)


def _kin(cell: Cell, use: str) -> tuple[str, ...]:
    """What tells how much a job costs, from the most to the least important; a trial is one of its search's scheme."""
    method = f"{use} {cell.label}" if cell.kind == "trial" else use
    return cell.kind, method, cell.backbone, cell.dataset, cell.label, cell.pool


def _picks(job: Job) -> bool:
    return job.kind in ("tune", "fuse") and bool(job.trials)


def totals(standings: Sequence[Standing], costs: Mapping[Cell, float], *, whole: bool = False) -> str:
    """`84 jobs, 60 cached, 24 to run; about 2 min 5 s of training and fusing, without ...`."""
    from finefuse.progress import duration

    counts = Counter(standing.state for standing in standings)
    states = [f"{count} {state}" for state, count in counts.most_common()]
    text = ", ".join([f"{len(standings)} job{'s' * (len(standings) != 1)}", *states])
    left = [standing.job for standing in standings if standing.state in LEFT]
    if not left:
        return f"{text}; nothing to compute"
    unknown = Counter(job.kind for job in left if (whole or job.kind in BILLED) and job.place not in costs)
    if not costs:
        return f"{text}; {'the cost is unknown until some have run' if unknown else 'nothing to train or fuse'}"
    kinds = ", ".join(f"{count} {kind}" for kind, count in unknown.items())
    apart = f"timing or jobs of unknown cost ({kinds})" if unknown else "or timing"
    spent = duration(sum(costs.values()))
    if whole:
        rest = f", without jobs of unknown cost ({kinds})" if unknown else ""
        return f"{text}; about {spent} for one job after the other{rest}"
    return f"{text}; about {spent} of training and fusing, without loading, scoring{',' * bool(unknown)} {apart}"


def job_table(standings: Sequence[Standing], costs: Mapping[Cell, float], *, why: bool, whole: bool = False) -> str:
    """One line per job."""
    rows = [("key", "state", "cost", "cell", *(["why"] if why else []))]
    for standing in standings:
        job, cost = standing.job, costs.get(standing.job.place)
        left = standing.state in LEFT
        known = whole or (job.kind in BILLED and not _picks(job))
        price = _price(cost) if left and known else ""
        rows.append((job.key[:8], standing.state, price, plain(job.cell), *([plain(standing.why)] if why else [])))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _price(cost: float | None) -> str:
    from finefuse.progress import duration

    return "?" if cost is None else "< 1 ms" if cost < 1e-3 else duration(cost)
