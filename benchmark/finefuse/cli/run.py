"""`finefuse run SUITE`."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from finefuse.cli.options import (
    Device,
    Executor,
    Observers,
    Only,
    Out,
    Plugins,
    Portable,
    Reporters,
    Store,
    SuiteName,
    Watch,
    Workers,
    reporters,
)
from finefuse.cli.printing import complain, say_board

if TYPE_CHECKING:
    from finefuse.api import Run
    from finefuse.progress import Tally

SHOWN = 10
"""Failed rows that are told one by one."""


def run(
    suite: SuiteName,
    workers: Workers = None,
    device: Device = "auto",
    portable: Portable = False,
    executor: Executor = None,
    reporter: Reporters = None,
    observer: Observers = None,
    out: Out = None,
    only: Only = None,
    plugin: Plugins = None,
    store: Store = None,
    retry: Annotated[bool, typer.Option("--retry", help="Run failed jobs again.")] = False,
    watch: Watch = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the leaderboard.")] = False,
) -> None:
    """Carry out a suite and print its leaderboard.

    Finished jobs are kept, so a run can be stopped at any time: the same command continues from there.
    --device auto uses a CUDA device if the system has one.
    """
    from finefuse import api
    from finefuse.progress import make_progress

    result: Run | None = None
    with make_progress(quiet=quiet) as progress, suppress(KeyboardInterrupt):
        result = api.run(
            suite,
            workers=workers,
            device=device,
            executor=executor,
            reporters=reporters(reporter),
            observers=observer or None,
            out=out,
            only=only or (),
            plugins=plugin or (),
            store=store,
            retry=retry,
            watcher=progress,
            portable=portable,
            watch=watch,
        )
    if result is None:
        complain(farewell(progress.tally))
        raise typer.Exit(130)
    say_board(result.board)
    for line in [*summary(result), *result.complaints, *([progress.trouble] if progress.trouble else [])]:
        complain(line)
    raise typer.Exit(0 if result.ok else 1)


def farewell(tally: Tally) -> str:
    """What Ctrl-C left behind."""
    if not tally.total:
        return "interrupted before any job was started"
    return f"interrupted: {tally.done} of {tally.total} rows are kept; the same command continues from there"


def summary(result: Run) -> list[str]:
    """Where the results are, and which rows failed and why."""
    from finefuse.progress import outcome_of

    lines = [f"written: {result.folder}: {', '.join(path.name for path in result.written)}"]
    if not result.bad:
        return lines
    counts = Counter(row["status"] for row in result.bad)
    told = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    lines.append(f"{len(result.bad)} of {len(result.rows)} rows are not ok: {told}; --retry runs them again")
    for row in result.bad[:SHOWN]:
        trace = f" (traceback: {result.folder / row['traceback']})" if row.get("traceback") else ""
        lines.append(f"  {row['cell']}: {outcome_of(row)}{trace}")
    if len(result.bad) > SHOWN:
        lines.append(f"  and {len(result.bad) - SHOWN} more; see {result.folder / 'records.jsonl'}")
    return lines
