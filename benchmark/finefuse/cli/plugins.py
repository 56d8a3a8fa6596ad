"""`finefuse plugins`."""

from __future__ import annotations

from typing import Annotated

import typer

from finefuse.cli.options import Plugins
from finefuse.cli.printing import say


def plugins(
    plugin: Plugins = None,
    traceback: Annotated[bool, typer.Option("--traceback", help="Also print the tracebacks of broken ones.")] = False,
) -> None:
    """List the plugins found, and what is wrong with them."""
    from tabulate import tabulate

    from finefuse.discovery.registry import Registry

    found = Registry(tuple(plugin or ())).plugins()
    rows = [(p.name, p.version or "-", p.door, p.status, ", ".join(p.hooks) or "-") for p in found]
    say(tabulate(rows, ("name", "version", "door", "status", "hooks"), "plain", disable_numparse=True))
    for info in found:
        if info.status != "ok":
            say(f"\n{info.name} is {info.status}: {info.reason}")
            if traceback and info.traceback:
                say(info.traceback.rstrip())
