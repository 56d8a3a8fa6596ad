"""`finefuse site DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finefuse.cli.options import Plugins, Reporters, reporters
from finefuse.cli.printing import complain, say


def site(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of results folders, such as results.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the site.")] = Path("site"),
    reporter: Reporters = None,
    plugin: Plugins = None,
) -> None:
    """Write static pages for many leaderboards, with an index."""
    from finefuse import api

    made = api.site(folder, out, reporters=reporters(reporter), plugins=plugin or ())
    say(made.index)
    for complaint in made.complaints:
        complain(f"error: {complaint}")
    raise typer.Exit(1 if made.complaints else 0)
