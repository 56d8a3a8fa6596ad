"""Importing the plugins: once for all jobs where a process is copied for each, and else in each job."""

from __future__ import annotations

import logging

from finefuse.discovery.registry import Door
from finefuse.engine.work.loading import registry_of
from finefuse.engine.work.untouched import Surroundings

Doors = tuple[Door, ...]
log = logging.getLogger("finefuse")
_kept: dict[Doors, Surroundings] = {}


def open_ahead(doors: Doors) -> None:
    """Import all plugins in a process that is then copied for jobs, and does nothing else."""
    _kept[doors] = _open(doors)


def opened(doors: Doors) -> Surroundings:
    """Import all plugins, unless that was done ahead; what is to be as it was before any of them was here."""
    return _kept.get(doors) or _open(doors)


def _open(doors: Doors) -> Surroundings:
    """What a plugin changes by being imported is put back, because it would change everybody's row."""
    surroundings = Surroundings()
    registry_of(doors)
    if changed := surroundings.put_back():
        log.warning("a plugin that was imported changed %s; this is put back", ", ".join(changed))
    return surroundings
