"""The packages under examples/, installed as wheels that pip builds: finefuse finds and shows what is in them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path.parent for path in ROOT.glob("examples/*/pyproject.toml"))
PLUGINS = {
    "gentle-teacher": "finefuse-gentle",
    "bottleneck": "finefuse-gentle",
    "opinion-pool": "finefuse-opinion-pool",
}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables with which all of them are installed."""
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    built = [*pip, "--no-build-isolation", "--target", str(site), *map(str, PACKAGES)]
    done = subprocess.run(built, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}


def finefuse(environment: dict[str, str], *words: str) -> str:
    command = [sys.executable, "-P", "-m", "finefuse", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_package_is_found_by_its_entry_point(environment: dict[str, str]) -> None:
    listed = finefuse(environment, "plugins")
    for package in PACKAGES:
        project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        (point,) = project["entry-points"]["finefuse"]
        assert f"entry point '{point}' of {project['name']} {project['version']}" in listed


@pytest.mark.parametrize("name", PLUGINS)
def test_their_plugins_are_shown(environment: dict[str, str], name: str) -> None:
    assert PLUGINS[name] in finefuse(environment, "show", name)
