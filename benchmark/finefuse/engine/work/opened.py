"""Importing the plugins: once for all jobs where a process is copied for each, and else in each job."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

from finefuse.declare.keys import environment
from finefuse.discovery.imports import source_digests
from finefuse.discovery.registry import Door
from finefuse.engine.work.loading import registry_of
from finefuse.engine.work.untouched import Surroundings
from finefuse.errors import FinefuseError
from finefuse.types import PluginKind, Ref, Settings

Doors = tuple[Door, ...]
Used = Sequence[tuple[PluginKind, Ref]]
log = logging.getLogger("finefuse")
_kept: dict[Doors, Surroundings] = {}


def open_ahead(doors: Doors, used: Used, *, extras: bool = False) -> None:
    """Import all plugins in a process that is then copied for jobs, and does nothing else.

    Of the plugins that the jobs will use, the built-in ones are built once and their source files read; with `extras`
    the packages that they require are imported too. What an outsider's class does when it is imported is left to its
    own jobs.
    """
    surroundings = _kept[doors] = _open(doors)
    registry = registry_of(doors)
    environment("cpu", Settings())
    for kind, ref in used:
        with suppress(FinefuseError, ImportError):  # not lost: its jobs meet it again, and tell
            found = registry.find(kind, ref.name)
            if found.shipped:
                source_digests(type(registry.build(kind, ref)))
                for module in found.entry.requires if extras else ():
                    import_module(module)
    _undo_changes(surroundings)


def opened(doors: Doors) -> Surroundings:
    """Import all plugins, unless that was done ahead; what is to be as it was before any of them was here."""
    return _kept.get(doors) or _open(doors)


def _open(doors: Doors) -> Surroundings:
    """What a plugin changes by being imported is put back, because it would change everybody's row."""
    surroundings = Surroundings()
    registry_of(doors)
    _undo_changes(surroundings)
    return surroundings


def _undo_changes(surroundings: Surroundings) -> None:
    if changed := surroundings.put_back():
        log.warning("a plugin that was imported changed %s; this is put back", ", ".join(changed))
