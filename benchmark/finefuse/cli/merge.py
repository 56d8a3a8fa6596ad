"""`finefuse merge DIR...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finefuse.cli.printing import complain, say
from finefuse.errors import FinefuseError


def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Results folders of one suite.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder for the merged results.")],
) -> None:
    """Join the records of several machines in one results folder."""
    from finefuse.judge.merging import merge as join
    from finefuse.judge.merging import write

    if len(folders) < 2:
        raise FinefuseError("merge takes two or more results folders")
    merged = join(folders)
    for path in write(merged, out)[:2]:
        say(path)
    for folder, count in merged.counts.items():
        complain(f"{count} rows from {folder}")
    for note in merged.notes:
        complain(note)
