"""`finefuse report DIR`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from finefuse.cli.options import Plugins, Reporters, reporters
from finefuse.cli.printing import complain, say, say_board


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder, such as results/quick.")],
    reporter: Reporters = None,
    plugin: Plugins = None,
    pair: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Compare two lines, such as full and 'soup of POOL'; writes nothing."),
    ] = None,
    overall: Annotated[
        bool, typer.Option("--overall", help="Rank all backbones together, also over data sets; writes nothing.")
    ] = False,
    impute: Annotated[
        str | None, typer.Option(metavar="HOW", help="With --overall: what stands in for missing scores; worst.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="BOARD", help="Print your lines among those of another results folder.")
    ] = None,
    show: Annotated[bool, typer.Option("--print", help="Print the leaderboard; writes nothing.")] = False,
    full_names: Annotated[bool, typer.Option("--full-names", help="The same, with all parameters in names.")] = False,
) -> None:
    """Write the reports of a results folder again."""
    from finefuse import api

    if full_names or show or against:
        board = api.against(folder, against) if against else api.board(folder)
        say_board(replace(board, full_names=full_names))
    if pair:
        say_board(api.pair(folder, *pair))
    if overall or impute:
        say_board(api.overall(folder, impute=impute))
    if pair or overall or impute or show or full_names or against:
        return
    result = api.report(folder, reporters=reporters(reporter), plugins=plugin or ())
    for path in result.written:
        say(path)
    for complaint in result.complaints:
        complain(f"error: {complaint}")
    raise typer.Exit(1 if result.complaints else 0)
