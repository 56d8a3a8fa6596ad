"""`finefuse plugins`."""

from __future__ import annotations

from typing import Annotated

import typer

from finefuse.cli.options import Plugins
from finefuse.cli.printing import say


def plugins(
    plugin: Plugins = None,
    traceback: Annotated[bool, typer.Option("--traceback", help="Also print the tracebacks of broken ones.")] = False,
    available: Annotated[bool, typer.Option("--available", help="List packages that could be installed.")] = False,
) -> None:
    """List the plugins found, and what is wrong with them."""
    from tabulate import tabulate

    from finefuse.discovery.registry import Registry

    found = Registry(tuple(plugin or ())).plugins()
    if available:
        here = {info.distribution for info in found}
        table = [(name, *rest, "installed" if name in here else install) for name, *rest, install in known()]
        say(tabulate(table, ("package", "provides", "what it has", "how to install it"), "plain"))
        return
    rows = [(p.name, p.version or "-", p.door, p.status, ", ".join(p.hooks) or "-") for p in found]
    say(tabulate(rows, ("name", "version", "door", "status", "hooks"), "plain", disable_numparse=True))
    for info in found:
        if info.status != "ok":
            say(f"\n{info.name} is {info.status}: {info.reason}")
            if traceback and info.traceback:
                say(info.traceback.rstrip())


def known() -> list[tuple[str, str, str, str]]:
    """Packages of plugins that are known: name, what they provide, a summary, and how to install them."""
    import tomllib
    from importlib import resources

    text = (resources.files("finefuse.cli") / "known_plugins.toml").read_text(encoding="utf-8")
    listed = tomllib.loads(text)["plugin"]
    return [(one["name"], one["provides"], one["summary"], one["install"]) for one in listed]
