"""What unit tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def build(fixture_module: Callable[[str], ModuleType]) -> ModuleType:
    """tests/fixtures/records_builder.py: synthetic records."""
    return fixture_module("records_builder")


@pytest.fixture
def workshop(fixture_module: Callable[[str], ModuleType], tmp_path: Path) -> Callable[..., Any]:
    """Makes a `Workshop` of tests/fixtures/workshop.py, of a tiny suite with changes."""
    shop = fixture_module("workshop").Workshop
    return lambda doors=(), **suite: shop(tmp_path / "store", suite, doors)
