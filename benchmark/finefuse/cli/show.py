"""`finefuse show NAME`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from finefuse.cli.options import KINDS, Plugins, parse_kind
from finefuse.cli.printing import say
from finefuse.errors import PluginError, did_you_mean

if TYPE_CHECKING:
    from finefuse.discovery.registry import Registry
    from finefuse.types import PluginKind


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A plugin or a suite, as `list` names it.")],
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Look only among these, such as schemes.")] = None,
    plugin: Plugins = None,
) -> None:
    """Show a plugin with its parameters and paper, or a suite."""
    from finefuse.discovery.registry import Registry

    registry = Registry(tuple(plugin or ()))
    chosen = parse_kind(kind, ("suite",)) if kind else None
    suites = registry.suites() if chosen in (None, "suite") else {}
    pages = [page(registry, known, name) for known in kinds_of(registry, name) if chosen in (None, known)]
    if name in suites:
        pages.append(f"# {suites[name]}\n{suites[name].read_text(encoding='utf-8').rstrip()}")
    if not pages:
        raise unknown(registry, name, chosen, suites)
    say("\n\n".join(pages))


def kinds_of(registry: Registry, name: str) -> list[PluginKind]:
    """The kinds of plugin that have this name."""
    return [kind for kind in KINDS if any(found.entry.name == name for found in registry.entries(kind))]


def page(registry: Registry, kind: PluginKind, name: str) -> str:
    """All about one plugin."""
    from tabulate import tabulate

    from finefuse.discovery.described import describe

    found = describe(registry, kind, name)
    lines = [f"{kind} {name}: {found.summary}".rstrip(": "), f"from {found.provider}"]
    lines += [f"unavailable, {found.missing}"] if found.missing else []
    lines += [f"paper: {paper}" for paper in found.papers]
    lines += ["", found.text] if found.text else []
    if not found.parameters:
        return "\n".join([*lines, "", "no parameters"])
    parameters = [(p.name, p.type, p.default, p.bounds) for p in found.parameters]
    table = tabulate(parameters, ("parameter", "type", "default", "bounds"), "plain", disable_numparse=True)
    return "\n".join([*lines, "", *(line.rstrip() for line in table.splitlines())])


def unknown(registry: Registry, name: str, kind: str | None, suites: Iterable[str]) -> PluginError:
    """The error for a name that no plugin provides, with the nearest existing one."""
    names = [found.entry.name for known in KINDS if kind in (None, known) for found in registry.entries(known)]
    hint = did_you_mean(name, [*names, *suites]) or "; `finefuse list` shows what there is"
    return PluginError(f"there is no {kind or 'plugin or suite'} {name!r}{hint}{registry.suspicion()}")
