"""The least that makes a suite, and the one sentence about one that is none."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.errors import SuiteError

HEAD = 'name = "x"\ndatasets = ["shapes"]\nbackbones = ["small"]\nschemes = ["full", "probe"]\n'
"""Four lines that make a suite; what a test adds begins on line 5."""
LEAST = tomllib.loads(HEAD)


def complaint(source: str | Path | Mapping[str, Any], registry: Registry) -> str:
    """The one sentence about a suite, without the folder of its file."""
    with pytest.raises(SuiteError) as caught:
        load_suite(source, registry)
    text = str(caught.value)
    assert "\n" not in text
    return text.replace(f"{source.parent}{os.sep}", "") if isinstance(source, Path) else text


def text_of(name: str) -> str:
    """The file of a suite that comes with finefuse."""
    return (Path(__file__).parents[2] / "suites" / f"{name}.toml").read_text(encoding="utf-8")
