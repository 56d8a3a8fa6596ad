"""Whether the methods of a plugin take what they are called with, asked before any of them is called."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from finefuse.types import PluginKind

REQUIRED: Mapping[PluginKind, Mapping[str, tuple[str, ...]]] = {
    "dataset": {"fingerprint": (), "splits": ("seed",)},
    "backbone": {"fingerprint": (), "build": ("task",)},
    "scheme": {"tune": ("on",)},
    "fusion": {"fuse": ("of",)},
    "metric": {"score": ("outputs", "y")},
    "executor": {"start": ("crew",), "submit": ("call", "order", "seconds"), "stop": ()},
    "reporter": {"write": ("board", "folder")},
    "observer": {},
}
"""The methods that a kind of plugin must have, and what each is called with."""
OPTIONAL: Mapping[PluginKind, Mapping[str, tuple[str, ...]]] = {
    "dataset": {"describe": ("seed",)},
    "backbone": {"budget": (), "tune": ("on",), "refuses": ("task", "tokens")},
    "scheme": {"prepare": ("model",)},
    "fusion": {"follow": ("net", "of"), "own_gradients": ("of",)},
    "observer": {
        "run_begins": ("plan", "waiting", "done"),
        "job_begins": ("job",),
        "job_ends": ("job", "record"),
        "run_ends": ("records",),
        "note": ("text",),
    },
}


def misfit(kind: PluginKind, cls: type) -> str:
    """What a class of this kind lacks or can't be called with, as the end of a sentence; "" if nothing."""
    required = REQUIRED[kind]
    for name, arguments in {**required, **OPTIONAL.get(kind, {})}.items():
        found = inspect.getattr_static(cls, name, None)
        if not callable(found) and not isinstance(found, staticmethod | classmethod):
            if name in required:
                return f"has no method {name!r}"
            continue
        if not _takes(found, len(arguments)):
            return f"has {name}{_written(found)}, which is called as {name}({', '.join(arguments)})"
    return ""


def _takes(method: object, count: int) -> bool:
    """Whether it can be called with so many arguments in order; what can't be known is not refused."""
    try:
        signature = _signature(method)
    except (TypeError, ValueError):
        return True
    bound = 0 if isinstance(method, staticmethod) else 1
    try:
        signature.bind(*range(count + bound))
    except TypeError:
        return False
    return True


def _signature(method: object) -> inspect.Signature:
    inner = method.__func__ if isinstance(method, staticmethod | classmethod) else method
    return inspect.signature(inner)  # type: ignore[arg-type]


def _written(method: object) -> str:
    names = [str(one).partition(":")[0].partition(" =")[0] for one in _signature(method).parameters.values()]
    return f"({', '.join(names[0 if isinstance(method, staticmethod) else 1 :])})"
