"""finefuse: benchmark fine-tuning schemes and model-fusion methods. Importing it imports no torch."""

from __future__ import annotations

import sys

# `python -m finefuse` is given the current folder, where a `signal.py` may stand that isn't Python's
if sys.argv[:1] == ["-m"] and "finefuse" in sys.orig_argv and not sys.flags.safe_path:
    del sys.path[0]

import importlib
from typing import TYPE_CHECKING

from finefuse.version import __version__

if TYPE_CHECKING:
    from finefuse.api import check, compare, export, overall, pair, plan, report, run
    from finefuse.deploy.predict import predict
    from finefuse.errors import FinefuseError, MemoryExceeded, NotApplicable, WorkerDied
    from finefuse.hookspec import hookimpl
    from finefuse.repeat.ab import ab
    from finefuse.repeat.calibrate import calibrate
    from finefuse.repeat.matrix import matrix
    from finefuse.repeat.verify import verify
    from finefuse.tasks import Classification, Regression
    from finefuse.types import Data, Entry, Ref, Splits, Task

_LATER = {
    **dict.fromkeys(("check", "compare", "export", "overall", "pair", "plan", "report", "run"), "finefuse.api"),
    **dict.fromkeys(("FinefuseError", "MemoryExceeded", "NotApplicable", "WorkerDied"), "finefuse.errors"),
    "hookimpl": "finefuse.hookspec",
    "predict": "finefuse.deploy.predict",
    **dict.fromkeys(("Classification", "Regression"), "finefuse.tasks"),
    **dict.fromkeys(("Data", "Entry", "Ref", "Splits", "Task"), "finefuse.types"),
    **{name: f"finefuse.repeat.{name}" for name in ("ab", "calibrate", "matrix", "verify")},
}
"""Where names are that are imported when they are first asked for: every pytest imports this package for its plugin."""
__all__ = [
    "Classification",
    "Data",
    "Entry",
    "FinefuseError",
    "MemoryExceeded",
    "NotApplicable",
    "Ref",
    "Regression",
    "Splits",
    "Task",
    "WorkerDied",
    "__version__",
    "ab",
    "calibrate",
    "check",
    "compare",
    "export",
    "hookimpl",
    "matrix",
    "overall",
    "pair",
    "plan",
    "predict",
    "report",
    "run",
    "verify",
]


def __getattr__(name: str) -> object:
    """Whatever `finefuse` offers, imported when it is first asked for."""
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'finefuse' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What completion offers, though most of it is not imported yet."""
    return sorted({*globals(), *_LATER})
