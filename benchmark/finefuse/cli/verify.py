"""`finefuse verify DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finefuse.cli.options import Plugins, Workers
from finefuse.cli.printing import complain, say, say_board


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")],
    sample: Annotated[int, typer.Option(metavar="N", min=1, help="How many cells to run again.")],
    seed: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Draws the cells.  [default: one that can't be foreseen]")
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who vouches for it; leaves verified.json beside the records.")
    ] = None,
    suite: Annotated[
        str | None, typer.Option(metavar="SUITE", help="The suite.  [default: what the folder's plan says]")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="As for run.  [default: the kind that the rows were run on]")
    ] = None,
    workers: Workers = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the certificate as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the certificate.")] = False,
    plugin: Plugins = None,
) -> None:
    """Run random cells of a results folder again.

    Each is run from nothing, and a certificate says whether it came out the same: by its bits on the same kind of
    machine, by a tolerance on another. Exits with 1 if one didn't.
    """
    from finefuse.judge.certificates import write_certificate
    from finefuse.progress import make_progress
    from finefuse.repeat.verify import verify as run_again

    with make_progress(quiet=quiet) as progress:
        certificate = run_again(
            folder,
            sample=sample,
            seed=seed,
            suite=suite,
            by=(by or "").strip(),
            plugins=plugin or (),
            device=device,
            workers=workers,
            watcher=progress,
        )
    if json_:
        say(certificate.to_json().rstrip())
    else:
        say_board(certificate)
    if certificate.by:
        complain(f"written: {write_certificate(certificate, folder)}")
    else:
        complain("not kept: --by NAME leaves it beside the records")
    raise typer.Exit(0 if certificate.passed else 1)
