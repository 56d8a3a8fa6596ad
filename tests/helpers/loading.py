"""Python files that no package holds, as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def loaded(file: Path, name: str = "") -> ModuleType:
    """The file carried out anew, under a name of its own unless told otherwise."""
    key = name or f"finefuse_script_{file.parent.name.replace('-', '_')}_{file.stem}"
    spec = importlib.util.spec_from_file_location(key, file)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[key] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
