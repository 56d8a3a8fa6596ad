"""Folders of images, and a cache of their own for each test."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from helpers.folders import CLASSES


@pytest.fixture(scope="module")
def make(fixture_module) -> ModuleType:
    return fixture_module("images")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def train(make, tmp_path) -> Path:
    return make.tree(tmp_path / "data" / "train", CLASSES, 20)


@pytest.fixture
def test(make, tmp_path) -> Path:
    return make.tree(tmp_path / "data" / "test", CLASSES, 4, seed=1)
