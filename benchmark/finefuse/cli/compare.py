"""`finefuse compare BASE NEW`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finefuse.cli.printing import complain, say
from finefuse.errors import FinefuseError, StoreError

if TYPE_CHECKING:
    from finefuse.judge.compare import Comparison

FailOn = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MEASURE:LIMIT", help="How much worse doesn't matter: accuracy:0.5pp, flops:0, train_s:20%; repeatable."
    ),
]
Fatal = Annotated[
    list[str] | None, typer.Option(metavar="JUDGEMENT", help="Fail on new or inconclusive too; repeatable.")
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WORD", help="Don't fail on not-comparable, missing, failed, settings, versions or plan; repeatable."
    ),
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        metavar="FORMAT[=FILE]",
        help="text, markdown, json, junit, github, bencher, gh-benchmark or pytest-benchmark; repeatable.",
    ),
]


def compare(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="The results folder to compare with.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The results folder to judge.")],
    alpha: Annotated[
        float | None, typer.Option(metavar="P", min=0, max=1, help="Chance of a false alarm over all tests.")
    ] = None,
    margin: Annotated[
        str | None, typer.Option(metavar="LIMIT", help="A change of a metric that doesn't matter: 0.5pp, 1%, 0.01.")
    ] = None,
    resolve: Annotated[
        str | None, typer.Option(metavar="LIMIT", help="Fail unless such a loss in all cells would have been caught.")
    ] = None,
    fail_on: FailOn = None,
    fatal: Fatal = None,
    allow: Allow = None,
    formats: Formats = None,
) -> None:
    """Compare two runs by cell, line and as a whole: a gate for CI.

    Exits with 1 if anything became worse, is missing or can't be compared, or if a folder can't be read: the gate fails
    closed. What isn't given is as the suite's table [gate] says.
    """
    from finefuse import api
    from finefuse.judge.gate.formats import read_formats
    from finefuse.judge.gate.policy import limits_of

    try:
        wanted = read_formats(formats or [])
        comparison = api.compare(
            base,
            new,
            alpha=alpha,
            margin=margin,
            resolve=resolve,
            fail_on=limits_of(fail_on or ()),
            fatal=fatal or (),
            allow=allow or (),
        )
    except StoreError as error:
        complain(f"error: {error}")
        raise typer.Exit(1) from None
    except FinefuseError as error:
        complain(f"error: {error}")
        raise typer.Exit(2) from None
    _hand_over(comparison, wanted)
    raise typer.Exit(0 if comparison.passed else 1)


def _hand_over(comparison: Comparison, wanted: list[tuple[str, Path | None]]) -> None:
    """Write what goes into files, then print; what can't be written closes the gate."""
    try:
        for name, file in wanted:
            if file:
                comparison.write(name, file)
    except FinefuseError as error:
        complain(f"error: {error}")
        raise typer.Exit(1) from None
    for name, file in wanted:
        if not file:
            say(comparison.render(name).rstrip("\n"))
