"""`finefuse list [KIND]`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finefuse.cli.options import KINDS, Plugins, parse_kind
from finefuse.cli.printing import say

if TYPE_CHECKING:
    from finefuse.discovery.registry import Provided, Registry

Row = tuple[str, ...]


def list_(
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="schemes, fusions, datasets, backbones, suites, ...")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """List what a suite can name, and the suites."""
    from finefuse.discovery.registry import Registry

    kinds = [parse_kind(kind, ("suite",))] if kind else [*KINDS, "suite"]
    registry = Registry(tuple(plugin or ()))
    tables = {name: rows(registry, name) for name in kinds}
    say("\n\n".join(text for name, table in tables.items() if (text := render(name, table))))
    for line in warnings(registry, tables):
        say(f"\n{line}")


def rows(registry: Registry, kind: str) -> list[Row]:
    """Name, summary and provider of everything of one kind; of suites name and file."""
    if kind == "suite":
        return [(name, str(path)) for name, path in sorted(registry.suites().items())]
    of_kind = next(known for known in KINDS if known == kind)
    return [(found.entry.name, summary(found), found.provider) for found in registry.entries(of_kind)]


def summary(found: Provided[Any]) -> str:
    """What a plugin does, and what is missing where it can't be used."""
    return f"{found.entry.summary} (unavailable, {found.missing})" if found.missing else found.entry.summary


def render(kind: str, table: list[Row]) -> str:
    """A table with the kind as its title."""
    from tabulate import tabulate

    lines = tabulate(table, tablefmt="plain", disable_numparse=True).splitlines()
    return "\n".join([f"{kind}s", *(f"  {line.rstrip()}" for line in lines or ["none"])])


def warnings(registry: Registry, tables: dict[str, list[Row]]) -> list[str]:
    """A sentence per name that several plugins provide, and per broken plugin."""
    lines = []
    for kind, table in tables.items():
        for name, count in Counter(row[0] for row in table).items():
            if count > 1:
                providers = " and ".join(row[-1] for row in table if row[0] == name)
                lines.append(f"clash: the {kind} {name!r} comes from {providers}; remove one to use it")
    return lines + registry.complaints()
