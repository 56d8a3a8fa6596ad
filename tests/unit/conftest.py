"""What unit tests share."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from finefuse.discovery.registry import Registry
from finefuse.types import Crew
from finefuse_zoo.executors.local import Local
from helpers.gates import Pair
from helpers.loading import loaded
from helpers.plugging import PLUGINS
from helpers.runs import FIXTURES


@pytest.fixture(scope="session")
def build(fixture_module: Callable[[str], ModuleType]) -> ModuleType:
    """tests/fixtures/records_builder.py: synthetic records."""
    return fixture_module("records_builder")


@pytest.fixture
def results(build: ModuleType, tmp_path: Path) -> Path:
    """A results folder as a run leaves it, without a plan: two schemes, two seeds."""
    rows = [build.row(label=label, seed=seed) for label in ("full", "lp") for seed in range(2)]
    folder: Path = build.write(tmp_path / "results", rows)
    return folder


@pytest.fixture
def workshop(fixture_module: Callable[[str], ModuleType], tmp_path: Path) -> Callable[..., Any]:
    """Makes a `Workshop` of tests/fixtures/workshop.py, of a tiny suite with changes."""
    shop = fixture_module("workshop").Workshop
    return lambda doors=(), **suite: shop(tmp_path / "store", suite, doors)


@pytest.fixture(scope="module")
def plugins(fixture_module: Callable[[str], ModuleType]) -> ModuleType:
    """tests/fixtures/planned.py: plugins for suites and plans, which need no torch."""
    return fixture_module("planned")


@pytest.fixture(scope="module")
def registry(plugins: ModuleType) -> Registry:
    """Those plugins."""
    return Registry([plugins], entry_points=False)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a suite file."""

    def write(text: str) -> Path:
        file = tmp_path / "s.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tests/fixtures/fake_run.py: fake plans, which worker processes can import too."""
    monkeypatch.syspath_prepend(str(FIXTURES))
    return importlib.import_module("fake_run")


@pytest.fixture
def clean_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """What plugins do to sys.path and sys.modules is undone after each test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        file = str(vars(sys.modules[name]).get("__file__"))
        if file.startswith((str(PLUGINS), str(tmp_path))):
            del sys.modules[name]


@pytest.fixture(scope="session")
def study() -> ModuleType:
    """studies/statistics/error_rates.py: simulated tables, and how often ranks and intervals of them are wrong."""
    return loaded(Path(__file__).parents[2] / "studies" / "statistics" / "error_rates.py")


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Under a name that worker processes can import."""
    monkeypatch.syspath_prepend(str(FIXTURES))
    return importlib.import_module("hostile")


@pytest.fixture
def started(hostile: ModuleType) -> Iterator[Callable[..., Local]]:
    """Starts executors, of one worker unless told otherwise, which end with the test, whether it passes or not."""
    with ExitStack() as ends:

        def start(executor: Local | None = None, **crew: Any) -> Local:
            executor = executor or Local()
            ends.callback(executor.stop)
            executor.start(Crew(**{"workers": 1, "threads": 1, "memory": 0} | crew))
            return executor

        yield start


@pytest.fixture
def pair(tmp_path: Path, build: ModuleType) -> Pair:
    """Two results folders in the making."""
    return Pair(tmp_path, build)
