"""Which plugins came with finefuse itself, so that a job that uses no other runs no code from outside."""

from __future__ import annotations

from collections.abc import Iterable

from finefuse.declare.facts import Facts
from finefuse.declare.nested import all_named
from finefuse.errors import FinefuseError
from finefuse.types import PluginKind, Ref


def all_shipped(facts: Facts, plugins: Iterable[tuple[PluginKind, Ref]], *, extras: bool) -> bool:
    """Whether all of them did, and those among their parameters; with `extras` those that rest on further packages too.

    One that isn't found did not.
    """
    try:
        every = [named for kind, ref in plugins for named in all_named(facts, kind, ref)]
        found = [facts.registry.find(kind, ref.name) for kind, ref in every]
    except FinefuseError:  # the job will say so
        return False
    return all(one.shipped and (extras or not one.entry.extra) for one in found)
