"""Names of plugins: entries and references."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

from finefuse.errors import PluginError

T = TypeVar("T")

Spec = str | dict[str, Any]
"""A plugin as a suite writes it: its name, or a table with `use` and parameters."""
Space = dict[str, dict[str, Any]]
"""Parameters and the ranges in which a search looks for them: low and high, and log; or choices."""
ROLES: dict[str, tuple[str, ...]] = {
    "executor": ("processes", "in-process"),
    "scheme": ("search", "frozen head", "files", "probe"),
}
"""The roles for which an entry of each kind may be the default; the roles of a metric are kinds of task."""
PluginKind = Literal["dataset", "backbone", "scheme", "fusion", "metric", "executor", "reporter", "observer"]


@dataclass(frozen=True)
class Entry(Generic[T]):
    """What a registration hook yields.

    `target` is a class, or its import path "module:Class", which is imported only when the plugin is used. `requires`
    names the top-level modules it needs besides the plugin's own dependencies, `extra` the extra of the plugin's
    distribution that installs them; without them the entry is listed as unavailable, and using it is an error that says
    so. `default_for` names the roles it has where no plugin is named: "processes" or "in-process" for an executor,
    "search" for the scheme behind a suite's table `[search]`, "frozen head" for the one behind `head = "frozen"`,
    "files" for the one that reads the `files` of a pool, "probe" for the one whose cost is the unit of a board's
    budgets, and for a metric the kinds of task that it ranks. A reporter that is `on_request` writes only where it is
    named.
    """

    name: str
    target: type[T] | str
    summary: str = ""
    requires: tuple[str, ...] = ()
    extra: str = ""
    default_for: tuple[str, ...] = ()
    on_request: bool = False


@dataclass(frozen=True)
class Ref:
    """A plugin's name with the parameters given to it; hashable, and equal references have equal text.

    `label` is the suite's name for it and doesn't count for equality.
    """

    name: str
    params: str = "{}"
    label: str = field(default="", compare=False)

    @classmethod
    def of(cls, name: str, /, **params: Any) -> Ref:
        """`Ref.of("digits", shots=3)`."""
        return cls(name, json.dumps(params, sort_keys=True))

    @classmethod
    def read(cls, spec: Spec) -> Ref:
        """`Ref.read({"use": "digits", "shots": 3})`."""
        if isinstance(spec, str):
            return cls.of(spec)
        if not isinstance(spec.get("use"), str):
            raise PluginError(f"{json.dumps(spec)} has no `use` that names a plugin")
        return cls.of(spec["use"], **{key: value for key, value in spec.items() if key != "use"})

    def having(self, params: Mapping[str, Any]) -> Ref:
        """The same plugin with some parameters instead of its own, or besides them."""
        return Ref.of(self.name, **{**self.kwargs, **params})

    @cached_property
    def kwargs(self) -> dict[str, Any]:
        """The parameters as a dictionary."""
        return dict(json.loads(self.params))

    def __str__(self) -> str:
        if self.label or not self.kwargs:
            return self.label or self.name
        return f"{self.name}({', '.join(f'{k}={_plain(v)}' for k, v in self.kwargs.items())})"


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
