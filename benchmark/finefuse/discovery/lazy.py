"""Delayed imports: `plan`, `check` and `list` import strategy modules without importing torch."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

HEAVY = ("torch", "torchvision", "torchmetrics", "sklearn", "finefuse.nets", "finefuse.matching", "finefuse.network")


class _Later(ModuleType):
    """Takes the place of a module until one of its attributes is used."""

    def __getattr__(self, name: str) -> Any:
        if name in ("__file__", "__spec__", "__wrapped__"):  # asked by inspect and importlib of any module
            raise AttributeError(name)
        if not any(isinstance(sys.modules.get(heavy), _Later) for heavy in HEAVY):  # the usual case, once imported
            return getattr(importlib.import_module(self.__name__), name)
        with _real_imports():  # which looks at all modules there are: milliseconds
            return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def _real_imports() -> Iterator[None]:
    """Inside, no stand-in is in the way; afterwards those are back whose modules were not imported."""
    parked = {key: module for key, module in sys.modules.items() if isinstance(module, _Later)}
    for key in parked:
        del sys.modules[key]
    try:
        yield
    finally:
        for key, standin in parked.items():
            sys.modules.setdefault(key, standin)


@contextmanager
def heavy_imports_later() -> Iterator[None]:
    """Inside, `import torch` binds a stand-in; torch itself is imported when an attribute of it is first used.

    So a module that has `import torch` at its top and uses it inside functions is fast to import. One that needs torch
    at import (`from torch import nn`, a class that derives from `torch.nn.Module`) works too, but loads torch.
    """
    standins = {name: _Later(name) for name in HEAVY if name not in sys.modules}
    sys.modules.update(standins)
    try:
        yield
    finally:
        for name, standin in standins.items():
            if sys.modules.get(name) is standin:
                del sys.modules[name]
