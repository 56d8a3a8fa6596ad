"""What `compare` and `ab` share: a comparison is made, given in all forms wanted, and decides the exit code."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import typer

from finefuse.cli.printing import complain, say
from finefuse.errors import FinefuseError, StoreError

if TYPE_CHECKING:
    from finefuse.judge.compare import Comparison


def give(make: Callable[[], Comparison], formats: list[str] | None) -> NoReturn:
    """Make a comparison and give it in these forms: into files first, and what can't be written closes the gate.

    Raises:
        FinefuseError: if an option makes no sense, which is told before anything is made where that is possible.
        typer.Exit: 0 if it passes, 1 if it fails or a folder can't be read.
    """
    from finefuse.judge.gate.formats import read_formats

    wanted = read_formats(formats or [])
    try:
        comparison = make()
    except StoreError as error:
        complain(f"error: {error}")
        raise typer.Exit(1) from None
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
    raise typer.Exit(0 if comparison.passed else 1)
