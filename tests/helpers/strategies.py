"""Every strategy that is built in."""

from __future__ import annotations

from finefuse.discovery.registry import Registry
from finefuse.types import PluginKind


def everything(head: str) -> str:
    """A suite with every built-in scheme and fusion that is installed and has a default for all its parameters.

    `head` is the rest of the suite.
    """
    registry = Registry(entry_points=False, doors=("finefuse_zoo.hooks",))

    def names(kind: PluginKind) -> list[str]:
        found = [provided.entry.name for provided in registry.entries(kind) if not provided.missing]
        return [name for name in found if all(p.default != "required" for p in registry.parameters(kind, name))]

    return f"schemes = {names('scheme')}\nfusions = {names('fusion')}\n{head}"
