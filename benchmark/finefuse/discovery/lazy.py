"""Delayed imports: `plan`, `check` and `list` import strategy modules without importing torch."""

from __future__ import annotations

import importlib
import importlib.abc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
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


class _Loaded(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds submodules that are there already.

    `from torch.autograd import grad` asks the stand-in of torch for its path, and so imports torch, which imports
    torch.autograd itself. The import system would then load that a second time, which torch doesn't survive.
    """

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002
        module = sys.modules.get(name)
        return None if module is None else ModuleSpec(name, self, loader_state=module.__spec__)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__ = module.__spec__.loader_state


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
    standins, finder = {name: _Later(name) for name in HEAVY if name not in sys.modules}, _Loaded()
    sys.modules.update(standins)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name, standin in standins.items():
            if sys.modules.get(name) is standin:
                del sys.modules[name]
