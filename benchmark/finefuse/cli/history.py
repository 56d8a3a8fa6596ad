"""`finefuse history DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finefuse.cli.printing import complain, say_board


def history(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A results folder in git, or a folder of dated results folders.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the page and the picture.")] = Path("history"),
    last: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the newest N points.")] = None,
    measure: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this measure, such as accuracy; repeatable.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(metavar="P", min=0, max=1, help="Chance of any false step.  [default: 0.05]")
    ] = None,
) -> None:
    """Show how lines changed over commits, and where by a step."""
    from finefuse.judge.history.page import write
    from finefuse.judge.history.told import history as look

    found = look(folder, last=last, alpha=alpha, measures=measure or ())
    files = write(found, out)
    say_board(found)
    complain(f"written: {', '.join(map(str, files))}")
