"""`finefuse ab BASE [NEW]`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finefuse.cli.options import (
    Allow,
    Alpha,
    Device,
    FailOn,
    Fatal,
    Formats,
    Margin,
    Only,
    Plugins,
    Portable,
    Resolve,
    Workers,
)
from finefuse.cli.printing import complain
from finefuse.cli.verdict import give

if TYPE_CHECKING:
    from finefuse.judge.compare import Comparison


Base = Annotated[str, typer.Argument(metavar="BASE", help="A git reference, an environment or a plugin file.")]
New = Annotated[str | None, typer.Argument(metavar="NEW", help="Another one.  [default: the working tree as it is]")]
Timeout = Annotated[float | None, typer.Option(metavar="SECONDS", min=0, help="How long a run may take.")]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="A new folder to keep the records of all runs.")]


def ab(
    base: Base,
    new: New = None,
    suite: Annotated[str, typer.Option(metavar="SUITE", help="Name of a suite or a TOML file.")] = "quick",
    pairs: Annotated[int, typer.Option(metavar="N", min=1, help="How often both are run.")] = 5,
    only: Only = None,
    device: Device = "auto",
    portable: Portable = False,
    workers: Workers = None,
    plugin: Plugins = None,
    timeout: Timeout = None,
    out: Out = None,
    alpha: Alpha = None,
    margin: Margin = None,
    resolve: Resolve = None,
    fail_on: FailOn = None,
    fatal: Fatal = None,
    allow: Allow = None,
    formats: Formats = None,
) -> None:
    """Compare two versions of the code, run in turn.

    A suite is run --pairs times with both, each time with a store of its own: bits say what is unchanged, and pairs of
    runs what became slower. The rest is as `compare` does it.
    BASE and NEW are git references of the project in this folder, environments (a Python, or a folder with bin/python),
    or plugin files.
    """
    run: dict[str, Any] = {"suite": suite, "pairs": pairs, "device": device, "portable": portable, "workers": workers}
    run |= {"only": only or (), "plugins": plugin or (), "timeout": timeout, "out": out}
    gate = {"alpha": alpha, "margin": margin, "resolve": resolve, "fatal": fatal or [], "allow": allow or []}
    try:
        give(lambda: _in_pairs(base, new, run, gate, fail_on or []), formats)
    except KeyboardInterrupt:
        complain("interrupted: nothing was compared")
        raise typer.Exit(130) from None


def _in_pairs(base: str, new: str | None, run: dict[str, Any], gate: dict[str, Any], fail_on: list[str]) -> Comparison:
    from finefuse.judge.gate.policy import limits_of
    from finefuse.repeat.ab import ab as compare

    return compare(base, new, **run, gate={**gate, "fail_on": limits_of(fail_on)}, tell=complain)
