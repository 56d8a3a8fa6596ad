"""Small tasks, networks and strategies that the tests share."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

from helpers.loading import loaded

FIXTURES = Path(__file__).parent / "fixtures"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch isn't imported yet; two test processes fight over cores otherwise
settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded")  # a machine that does other work too fails no test
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what is in the background without it


def load_fixture(name: str) -> ModuleType:
    """A module of tests/fixtures, by file name without ending."""
    key = f"finefuse_fixture_{name}"
    if key not in sys.modules:
        loaded(FIXTURES / f"{name}.py", key)
    return sys.modules[key]


@pytest.fixture(scope="session")
def lab() -> ModuleType:
    """tests/fixtures/lab.py: blobs, small networks, a tuning and a fusing made of them."""
    return load_fixture("lab")


@pytest.fixture(scope="session")
def fixture_module() -> Callable[[str], ModuleType]:
    """Loads any other module of tests/fixtures."""
    return load_fixture
