"""Sessions of pytest inside a test."""

from __future__ import annotations

from importlib.metadata import entry_points


def self_registered() -> tuple[str, ...]:
    """Nothing where finefuse is installed, for its entry point then registers the plugin; else how to do so."""
    installed = any(point.value == "finefuse.pytest_plugin" for point in entry_points(group="pytest11"))
    return () if installed else ("-p", "finefuse.pytest_plugin")
