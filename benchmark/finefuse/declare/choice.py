"""The executor, observers and reporters of a run, chosen by name and parameters. Not part of any key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finefuse.errors import PluginError
from finefuse.types import PluginKind, Ref

Choice = str | Mapping[str, Any] | Ref
"""A plugin as `name` or `name(key=value, ...)`, as a table with `use` and parameters, or as a `Ref`."""
_CALL = re.compile(r"\s*([^\s()]+)\s*(?:\((.*)\))?\s*", re.DOTALL)


@dataclass(frozen=True)
class RunChoice:
    """The table `[run]` of a suite; None where it leaves the choice open."""

    executor: Ref | None = None
    workers: int | None = None
    reporters: tuple[Ref, ...] | None = None
    observers: tuple[Ref, ...] = ()


def chosen(kind: PluginKind, choice: Choice) -> Ref:
    """The plugin and its parameters.

    Raises:
        PluginError: if a text can't be read, or a table has no name.
    """
    if isinstance(choice, Ref):
        return choice
    name, params = _called(kind, choice) if isinstance(choice, str) else _named(kind, dict(choice))
    try:
        return Ref.of(name, **params)
    except (TypeError, ValueError) as error:
        raise PluginError(f"{kind} {name!r}: {' '.join(str(error).split())}") from error


def all_chosen(kind: PluginKind, choices: Choice | Sequence[Choice]) -> tuple[Ref, ...]:
    """Several of a kind, each once."""
    several = (choices,) if isinstance(choices, str | Mapping | Ref) else choices
    return tuple(dict.fromkeys(chosen(kind, choice) for choice in several))


def called(text: str) -> Ref:
    """A plugin of any kind as a command line has it: `name`, or `name(key=value)` with values as in TOML."""
    name, parameters = _called("plugin", text)
    return Ref.of(name, **parameters)


def _called(kind: str, text: str) -> tuple[str, dict[str, Any]]:
    """The name and the parameters, whose values are written as in TOML."""
    found = _CALL.fullmatch(text)
    if not found:
        raise PluginError(f"{kind} {text!r} can't be read: write its name, or name(key=value, ...)")
    name, inside = found[1], found[2] or ""
    try:
        read = tomllib.loads(f"it = {{{inside}}}")
    except tomllib.TOMLDecodeError:
        read = {}
    if read.keys() != {"it"}:  # nothing may stand after the bracket of what was put in
        raise PluginError(
            f"{kind} {name!r}: {inside!r} can't be read: write key=value, key=value, with values as in TOML, "
            'such as true, 0.5, "text" or [1, 2]'
        )
    return name, read["it"]


def _named(kind: PluginKind, table: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    name = table.pop("use", None)
    if not isinstance(name, str):
        raise PluginError(f"{kind} {table!r} has no `use` that names it")
    return name, table
