"""`finefuse compare BASE NEW`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finefuse.cli.options import Allow, Alpha, FailOn, Fatal, Formats, Margin, Resolve
from finefuse.cli.verdict import give

if TYPE_CHECKING:
    from finefuse.judge.compare import Comparison


def compare(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="The results folder to compare with.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The results folder to judge.")],
    alpha: Alpha = None,
    margin: Margin = None,
    resolve: Resolve = None,
    fail_on: FailOn = None,
    fatal: Fatal = None,
    allow: Allow = None,
    formats: Formats = None,
) -> None:
    """Compare two runs, by cell, by line and as a whole.

    A gate for CI: exits with 1 if anything became worse, is missing or can't be compared, or if a folder can't be
    read: it fails closed. What isn't given is as the suite's table [gate] says.
    """

    def make() -> Comparison:
        from finefuse import api
        from finefuse.judge.gate.policy import limits_of

        return api.compare(
            base,
            new,
            alpha=alpha,
            margin=margin,
            resolve=resolve,
            fail_on=limits_of(fail_on or ()),
            fatal=fatal or (),
            allow=allow or (),
        )

    give(make, formats)
