"""finefuse: benchmark fine-tuning schemes and model-fusion methods. Importing it imports no torch."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from finefuse.errors import FinefuseError, MemoryExceeded, NotApplicable, WorkerDied
from finefuse.hookspec import hookimpl
from finefuse.types import Data, Entry, Ref, Splits, Task

if TYPE_CHECKING:
    from finefuse.api import check, export, plan, run

__version__ = "0.1.0"
__all__ = ["Data", "Entry", "FinefuseError", "MemoryExceeded", "NotApplicable", "Ref", "Splits", "Task", "WorkerDied"]
__all__ += ["check", "export", "hookimpl", "plan", "run"]


def __getattr__(name: str) -> Any:
    if name in ("plan", "check", "export"):
        return getattr(importlib.import_module("finefuse.api"), name)
    raise AttributeError(f"module 'finefuse' has no attribute {name!r}")


class _Runner(ModuleType):
    """Lets `finefuse.run` be called like `finefuse.api.run`, although it is the package `finefuse/run` as well."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return importlib.import_module("finefuse.api").run(*args, **options)


importlib.import_module("finefuse.run").__class__ = _Runner
