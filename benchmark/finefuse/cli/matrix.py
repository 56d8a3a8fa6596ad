"""`finefuse matrix SUITE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finefuse.cli.options import Allow, Device, FailOn, Fatal, Only, Plugins, Portable, SuiteName, Workers
from finefuse.cli.printing import complain, say, say_board


def matrix(
    suite: SuiteName,
    versions: Annotated[
        list[str],
        typer.Option("--with", metavar="VERSION", help="A requirement such as 'torch==2.13'; twice or more."),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A new folder for the results.  [default: results/SUITE-matrix]")
    ] = None,
    only: Only = None,
    device: Device = "auto",
    portable: Portable = False,
    workers: Workers = None,
    plugin: Plugins = None,
    fail_on: FailOn = None,
    fatal: Fatal = None,
    allow: Allow = None,
    json_: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Run a suite over versions of a dependency.

    The first is named that regresses against the first given. Exits with 1 if one does, or can't be run.
    """
    from finefuse.judge.gate.policy import limits_of
    from finefuse.repeat.matrix import matrix as run_all

    gate = {"fail_on": limits_of(fail_on or ()), "fatal": fatal or [], "allow": allow or []}
    found = run_all(
        suite,
        versions,
        out=out,
        only=only or (),
        device=device,
        portable=portable,
        workers=workers,
        plugins=plugin or (),
        gate=gate,
        tell=None if quiet else complain,
    )
    if json_:
        say(found.to_json().rstrip())
    else:
        say_board(found)
    raise typer.Exit(0 if found.passed else 1)
