"""`finefuse calibrate [SUITE]`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from finefuse.cli.options import Device, Only, Plugins, Portable, Workers
from finefuse.cli.printing import complain, say

SuiteToo = Annotated[str, typer.Argument(metavar="SUITE", help="Name of a suite or a TOML file.  [default: quick]")]


def calibrate(
    suite: SuiteToo = "quick",
    pairs: Annotated[int, typer.Option(metavar="N", min=2, help="Pairs of runs.")] = 5,
    only: Only = None,
    device: Device = "auto",
    portable: Portable = False,
    workers: Workers = None,
    plugin: Plugins = None,
    json_: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Measure the noise of runs on this machine.

    A suite is run against itself, in pairs, every time from nothing. Comparisons of rows of this machine use the noise
    from then on, where neither the suite nor the caller says another.
    """
    from finefuse.judge.gate.calibration import write
    from finefuse.repeat.calibrate import calibrate as measure

    found = measure(
        suite,
        pairs=pairs,
        only=only or (),
        device=device,
        portable=portable,
        workers=workers,
        plugins=plugin or (),
        tell=None if quiet else complain,
    )
    say(json.dumps(found.to_dict(), indent=1) if json_ else found.to_markdown())
    complain(f"written: {write(found)}")
