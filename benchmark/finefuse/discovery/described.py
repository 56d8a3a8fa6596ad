"""What is known of a plugin without using it: its author's words, papers and parameters."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from finefuse.discovery import capabilities
from finefuse.discovery.parameters import Parameter
from finefuse.discovery.registry import Registry
from finefuse.types import PluginKind

ARXIV = re.compile(r"(?<![\w./-])\d{4}\.\d{4,5}(?![\w/-])")
"""The number of a paper, which docstrings give with or without the word arXiv."""


class Described(NamedTuple):
    """A plugin's summary, who provides it, what it lacks (""), its docstring, addresses of papers, and parameters."""

    summary: str
    provider: str
    missing: str
    text: str
    papers: tuple[str, ...]
    parameters: tuple[Parameter, ...]


def describe(registry: Registry, kind: PluginKind, name: str) -> Described:
    """All about one plugin.

    Raises:
        PluginError: if no plugin, or more than one, provides it, or it can't be imported.
    """
    found = registry.find(kind, name)
    text = description(registry.target(kind, name))
    provider = f"{found.provider}{f' ({found.distribution} {found.version})' * bool(found.distribution)}"
    papers = tuple(f"https://arxiv.org/abs/{number}" for number in dict.fromkeys(ARXIV.findall(text)))
    parameters = tuple(registry.parameters(kind, name))
    return Described(found.entry.summary, provider, found.missing, text, papers, parameters)


def ranges(registry: Registry, kind: PluginKind, name: str) -> list[str]:
    """What a search tries for the parameters of a scheme or fusion: `lr from 0.0001 to 0.3, by ratios`."""
    if kind not in ("scheme", "fusion"):
        return []
    declared = capabilities.space(registry.target(kind, name)).items()
    return [f"{parameter} {_range(given)}" for parameter, given in declared]


def _range(given: Mapping[str, Any]) -> str:
    if "choices" in given:
        return f"of {', '.join(map(str, given['choices']))}"
    return f"from {given['low']:g} to {given['high']:g}{', by ratios' * bool(given.get('log'))}"


def description(target: type) -> str:
    """The docstring its author wrote, not the signature that `dataclass` puts in its place."""
    text = inspect.cleandoc(target.__doc__ or "")
    return "" if text.startswith(f"{target.__name__}(") else text
