"""`finefuse show NAME` and `finefuse show RUN ROW`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finefuse.cli.options import KINDS, Plugins, parse_kind
from finefuse.cli.printing import say
from finefuse.errors import FinefuseError, PluginError, did_you_mean

if TYPE_CHECKING:
    from finefuse.discovery.registry import Registry
    from finefuse.types import PluginKind


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A plugin or a suite, as `list` names it; or a RUN.")],
    row: Annotated[
        str | None,
        typer.Argument(metavar="ROW", help="Of the results folder NAME: a line, a cell, or how a key begins."),
    ] = None,
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Look only among these, such as schemes.")] = None,
    pool: Annotated[str | None, typer.Option(metavar="NAME", help="Of ROW: which pool.")] = None,
    dataset: Annotated[str | None, typer.Option(metavar="NAME", help="Of ROW: which data set.")] = None,
    backbone: Annotated[str | None, typer.Option(metavar="NAME", help="Of ROW: which backbone.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of ROW: one seed.  [default: all]")] = None,
    round_: Annotated[int | None, typer.Option("--round", metavar="N", help="Of ROW: which round, from 0.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Of ROW: print all of it as JSON.")] = False,
    plugin: Plugins = None,
) -> None:
    """Show a plugin, a suite, or all that a run has left of a row."""
    narrow = {"dataset": dataset, "backbone": backbone, "pool": pool, "seed": seed, "round": round_}
    if row is not None:
        say(row_page(Path(name), row, narrow, as_json=json_))
        return
    if json_ or any(value is not None for value in narrow.values()):
        raise FinefuseError("these options are for a row: finefuse show RUN ROW")
    if (Path(name) / "records.jsonl").is_file():
        raise FinefuseError(f"{name} is a results folder: which row? `finefuse show {name} ROW`, such as a line's name")
    say(plugin_pages(name, kind, plugin or ()))


def row_page(folder: Path, row: str, narrow: Mapping[str, str | int | None], *, as_json: bool) -> str:
    """All about a row of a results folder."""
    from finefuse.judge.page import page as text_of
    from finefuse.judge.shown import show as look

    shown = look(folder, row, narrow)
    return json.dumps(shown.to_json(), indent=1, allow_nan=False) if as_json else text_of(shown)


def plugin_pages(name: str, kind: str | None, plugins: Sequence[str]) -> str:
    """All about the plugins and the suite of a name."""
    from finefuse.discovery.registry import Registry

    registry = Registry(tuple(plugins))
    chosen = parse_kind(kind, ("suite",)) if kind else None
    suites = registry.suites() if chosen in (None, "suite") else {}
    pages = [page(registry, known, name) for known in kinds_of(registry, name) if chosen in (None, known)]
    if name in suites:
        pages.append(f"# {suites[name]}\n{suites[name].read_text(encoding='utf-8').rstrip()}")
    if not pages:
        raise unknown(registry, name, chosen, suites)
    return "\n\n".join(pages)


def kinds_of(registry: Registry, name: str) -> list[PluginKind]:
    """The kinds of plugin that have this name."""
    return [kind for kind in KINDS if any(found.entry.name == name for found in registry.entries(kind))]


def page(registry: Registry, kind: PluginKind, name: str) -> str:
    """All about one plugin."""
    from tabulate import tabulate

    from finefuse.discovery.described import describe, ranges

    found = describe(registry, kind, name)
    lines = [f"{kind} {name}: {found.summary}".rstrip(": "), f"from {found.provider}"]
    lines += [f"unavailable, {found.missing}"] if found.missing else []
    lines += [f"paper: {paper}" for paper in found.papers]
    lines += ["", found.text] if found.text else []
    if not found.parameters:
        return "\n".join([*lines, "", "no parameters"])
    parameters = [(p.name, p.type, p.default, p.bounds) for p in found.parameters]
    table = tabulate(parameters, ("parameter", "type", "default", "bounds"), "plain", disable_numparse=True)
    lines += ["", *(line.rstrip() for line in table.splitlines())]
    searched = ranges(registry, kind, name)
    return "\n".join([*lines, *(["", f"searched: {'; '.join(searched)}"] if searched else [])])


def unknown(registry: Registry, name: str, kind: str | None, suites: Iterable[str]) -> PluginError:
    """The error for a name that no plugin provides, with the nearest existing one."""
    names = [found.entry.name for known in KINDS if kind in (None, known) for found in registry.entries(known)]
    hint = did_you_mean(name, [*names, *suites]) or "; `finefuse list` shows what there is"
    return PluginError(f"there is no {kind or 'plugin or suite'} {name!r}{hint}{registry.suspicion()}")
