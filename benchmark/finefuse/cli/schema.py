"""`finefuse schema`."""

from __future__ import annotations

from finefuse.cli.options import Plugins
from finefuse.cli.printing import say


def schema(plugin: Plugins = None) -> None:
    """Print the JSON Schema of suite files, for an editor."""
    import json

    from finefuse.declare.suite import suite_schema
    from finefuse.discovery.registry import Registry

    say(json.dumps(suite_schema(Registry(tuple(plugin or ()))), indent=2))
