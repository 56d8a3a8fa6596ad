"""`finefuse compare BASE NEW`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finefuse.cli.printing import complain, say
from finefuse.errors import FinefuseError


def compare(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="The results folder to compare with.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The results folder to judge.")],
    alpha: Annotated[
        float, typer.Option(metavar="P", min=0, max=1, help="Chance of a false alarm over all cells.")
    ] = 0.05,
    margin: Annotated[
        float, typer.Option(metavar="D", min=0, max=1, help="A difference in accuracy too small to matter.")
    ] = 0.01,
) -> None:
    """Compare two runs cell by cell: a gate for CI.

    Exits with 1 if a cell regressed, failed or is missing, or if a folder can't be read: the gate fails closed.
    """
    from finefuse import api

    try:
        comparison = api.compare(base, new, alpha=alpha, margin=margin)
    except FinefuseError as error:
        complain(f"error: {error}")
        raise typer.Exit(1) from None
    say(comparison.to_markdown())
    raise typer.Exit(0 if comparison.passed else 1)
