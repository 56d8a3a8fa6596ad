"""`studies/gate`: its planted changes fit the package that they are of, and say what they do."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import pytest

from helpers.loading import loaded

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("patch") is None, reason="the command `patch` is not installed")


@pytest.fixture(scope="module")
def planted() -> ModuleType:
    """The script as a module."""
    return loaded(ROOT / "studies" / "gate" / "planted.py")


def test_there_are_ten_of_each_kind_and_all_are_told_with_their_figures(planted: ModuleType) -> None:
    found = planted.changes()
    assert [change.bad for change in found] == [True] * 10 + [False] * 10
    page = (ROOT / "studies" / "gate" / "README.md").read_text(encoding="utf-8")
    for change in found:
        assert f"| {change.name} | {change.what} |" in page


def test_each_fits_the_package_as_it_is_and_leaves_python(planted: ModuleType, tmp_path: Path) -> None:
    plain = {path.name: path.read_text(encoding="utf-8") for path in planted.PACKAGE.glob("*.py")}
    for change in planted.changes():
        change.apply(tmp_path / change.name)
        files = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / change.name).glob("*.py")}
        assert files != plain, change.name
        for name, text in files.items():
            compile(text, name, "exec")
        assert not list((tmp_path / change.name).rglob("*.orig")), f"{change.name} fits only nearly"
