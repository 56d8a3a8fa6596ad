"""`finefuse check-plugin NAME|FILE`."""

from __future__ import annotations

from typing import Annotated

import typer

from finefuse.cli.options import Plugins
from finefuse.cli.printing import say
from finefuse.errors import FinefuseError


def check_plugin(
    what: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A plugin, or a file of plugins.")],
    plugin: Plugins = None,
    skip: Annotated[list[str] | None, typer.Option(metavar="RULE", help="Leave a rule out; repeatable.")] = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE=WHY", help="A rule that it doesn't keep, and why; repeatable."),
    ] = None,
) -> None:
    """Try a plugin of any kind against the rules for its kind."""
    expected = dict(map(_with_reason, expect or ()))
    from finefuse.testing.every_kind import check_plugin as tried
    from finefuse.testing.every_kind import told

    reports = tried(what, plugins=tuple(plugin or ()), skip=skip or (), expected=expected)
    for report in reports:
        say(str(report))
    counts = told(reports)
    say(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    if counts.get("broken"):
        raise typer.Exit(1)


def _with_reason(text: str) -> tuple[str, str]:
    rule, _, reason = text.partition("=")
    if not rule.strip() or not reason.strip():
        raise FinefuseError(f"--expect {text!r}: write RULE=WHY, as in one-member-is-itself='it adds a head'")
    return rule.strip(), reason.strip()
