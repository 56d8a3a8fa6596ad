"""The wheel: all that the checkout has and a user needs, found without the checkout."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(new_place: Callable[[], Any]) -> Any:
    """A folder with the wheel and, below `site`, what pip unpacks of it."""
    place = new_place()
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", ".", str(ROOT)]
    subprocess.run(build, cwd=place.folder, check=True, capture_output=True)
    (wheel,) = place.folder.glob("*.whl")
    unpack = [*pip, "install", "--no-deps", "--target", "site", wheel.name]
    subprocess.run(unpack, cwd=place.folder, check=True, capture_output=True)
    return place


def test_the_wheel_holds_both_packages_and_nothing_at_its_top_but_them(installed: Any) -> None:
    (wheel,) = installed.folder.glob("*.whl")
    names = set(ZipFile(wheel).namelist())
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"finefuse", "finefuse_zoo"}
    sources = {path.relative_to(root) for root in (ROOT / "benchmark", ROOT / "plugins") for path in root.rglob("*.py")}
    assert {str(source) for source in sources} <= names
    templates = {f"finefuse/cli/templates/{path.name}" for path in (ROOT / "benchmark").rglob("*.txt")}
    suites = {f"finefuse_zoo/suites/{path.name}" for path in (ROOT / "suites").glob("*.toml")}
    assert len(templates) == 20
    assert {*templates, *suites, "finefuse/py.typed", "finefuse_zoo/py.typed"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_installed_wheel_knows_its_suites_plugins_and_version(installed: Any) -> None:
    env = {"PYTHONPATH": str(installed.folder / "site")}
    suites = installed.run("list", "suites", env=env).out
    for path in (ROOT / "suites").glob("*.toml"):
        assert str(installed.folder / "site" / "finefuse_zoo" / "suites" / path.name) in suites
    assert installed.run("check", "quick", env=env).out.endswith("all good\n")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert installed.run("--version", env=env).out == f"finefuse {version}\n"
    plugins = installed.run("plugins", env=env).out
    assert plugins.count(f"entry point 'zoo' of finefuse {version}") == 1
