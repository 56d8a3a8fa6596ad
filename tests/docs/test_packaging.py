"""What the wheel and the sdist hold, and that an installed wheel finds its suites."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {"finefuse": ROOT / "benchmark", "finefuse_zoo": ROOT / "plugins"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, built as pip would."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-d", folder]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(built.glob("*.whl")))


@pytest.fixture(scope="module")
def sdist(built: Path) -> set[str]:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def files(folder: Path, base: Path) -> set[str]:
    return {
        path.relative_to(base).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_both_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    expected = {file for package, base in SOURCES.items() for file in files(base / package, base)}
    expected |= {f"finefuse_zoo/{file}" for file in files(ROOT / "suites", ROOT)}
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == expected
    assert {"finefuse/py.typed", "finefuse_zoo/py.typed", "finefuse/cli/templates/scheme.py.txt"} <= found


def test_the_wheel_has_its_licence_command_and_entry_points(wheel: zipfile.ZipFile) -> None:
    folder = next(name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name)
    assert wheel.read(f"{folder}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert "License-Expression: Apache-2.0" in wheel.read(f"{folder}/METADATA").decode()
    points = wheel.read(f"{folder}/entry_points.txt").decode()
    for line in ("finefuse = finefuse.cli:main", "zoo = finefuse_zoo.hooks", "finefuse = finefuse.pytest_plugin"):
        assert line in points.splitlines()


def test_the_sdist_holds_what_builds_and_tests_it(sdist: set[str]) -> None:
    for folder in ("benchmark", "plugins", "suites", "docs", "baselines", "studies"):
        assert files(ROOT / folder, ROOT) <= sdist
    assert {"README.md", "ARCHITECTURE.md", "LICENSE", "pyproject.toml", ".ci/run", "tests/conftest.py"} <= sdist
    pages = {name.relative_to(ROOT).as_posix() for name in ROOT.glob("results/*/*.md")}
    boards = {name.relative_to(ROOT).as_posix() for name in ROOT.glob("results/*/leaderboard.json")}
    pictures = {name.relative_to(ROOT).as_posix() for name in ROOT.glob("results/*/figures/*.svg")}
    assert {name for name in sdist if name.startswith((".venv", "results/"))} == pages | boards | pictures


def test_suites_are_found_in_an_installed_wheel(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    code = "from finefuse.discovery.registry import Registry\nfor path in Registry().suites().values(): print(path)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    found = {Path(line) for line in done.stdout.splitlines()}
    assert found == set((tmp_path / "finefuse_zoo" / "suites").glob("*.toml"))
    assert {path.name for path in found} == {path.name for path in (ROOT / "suites").glob("*.toml")}
