"""`finefuse schema`."""

from __future__ import annotations

from typing import Annotated

import typer

from finefuse.cli.options import Plugins
from finefuse.cli.printing import say


def schema(
    plugin: Plugins = None,
    verdict: Annotated[
        bool, typer.Option("--verdict", help="The schema of what `compare --format json` writes instead.")
    ] = False,
    certificate: Annotated[
        bool, typer.Option("--certificate", help="The schema of what `verify --json` writes instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of suite files, for an editor."""
    import json

    if verdict and certificate:
        raise typer.BadParameter("one schema at a time: give --verdict or --certificate.")
    if certificate:
        from finefuse.judge.certificates import schema as of_certificates

        say(json.dumps(of_certificates(), indent=2))
        return
    if verdict:
        from finefuse.judge.gate.documents import schema as of_verdicts

        say(json.dumps(of_verdicts(), indent=2))
        return
    from finefuse.declare.suite import suite_schema
    from finefuse.discovery.registry import Registry

    say(json.dumps(suite_schema(Registry(tuple(plugin or ()))), indent=2))
