"""Packages that `finefuse new` writes: tested, built, installed, found by their entry points, and ranked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import finefuse
from helpers.loading import loaded

PACKAGES = {"scheme": "late-thaw", "fusion": "loud-mean"}
SUITE = """
name      = "guests"
seeds     = [0, 1]
budget    = { epochs = 4, batch_size = 16 }
datasets  = [{ use = "points", images = true }]
backbones = [{ use = "tiny", images = true }]
metrics   = ["accuracy", "nll"]
schemes   = ["full", "late-thaw"]
fusions   = ["mean-probs", "loud-mean"]
latency   = [1]
"""


@pytest.fixture(scope="module")
def guests(new_place: Callable[[], Any]) -> Any:
    """A folder with both packages as sources, and a suite that uses them."""
    place = new_place()
    place.write("guests.toml", SUITE)
    for kind, name in PACKAGES.items():
        outcome = place.run("new", kind, name)
        assert outcome.code == 0, outcome.err
        files = sorted(path.name for path in (place.folder / f"finefuse-{name}").iterdir())
        module = name.replace("-", "_")
        assert files == [f"finefuse_{module}.py", "pyproject.toml", f"test_{module}.py"]
    return place


@pytest.fixture(scope="module")
def installed(guests: Any) -> dict[str, str]:
    """The environment in which both are installed, as wheels that pip builds."""
    site = guests.folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    built = [*pip, "--no-build-isolation", "--target", str(site), *sources(guests)]
    done = subprocess.run(built, cwd=guests.folder, env=guests.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {"PYTHONPATH": str(site)}


def sources(guests: Any) -> list[str]:
    return [str(guests.folder / f"finefuse-{name}") for name in PACKAGES.values()]


def module_path(guests: Any) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(sources(guests))}


def test_their_own_tests_pass(guests: Any) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *sources(guests)]
    env = guests.environment(**module_path(guests))
    done = subprocess.run(command, cwd=guests.folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


def test_an_installed_package_is_found_listed_and_shown(guests: Any, installed: dict[str, str]) -> None:
    listed = {verb: guests.run(verb, env=installed) for verb in ("plugins", "list")}
    shown = {name: guests.run("show", name, env=installed) for name in PACKAGES.values()}
    for name in PACKAGES.values():
        module = f"finefuse_{name.replace('-', '_')}"
        assert f"entry point '{name}' of finefuse-{name} 0.1.0" in listed["plugins"].out
        assert any(line.split()[0] == name and module in line for line in listed["list"].out.splitlines() if line)
        assert shown[name].code == 0
        assert module in shown[name].out


def test_every_door_gives_the_same_keys_and_bits_and_a_rank(
    guests: Any, installed: dict[str, str], tiny: str, lasting: Callable[[Any], Any]
) -> None:
    outcome = guests.run(*run(tiny), "--workers", "1", "--out", "entry-point", env=installed)
    assert outcome.code == 0, outcome.err
    assert ranked(outcome.out) == {"full", *PACKAGES.values(), "mean-probs"}
    rows = list(map(lasting, guests.rows("entry-point")))

    files = [str(next(Path(source).glob("finefuse_*.py"))) for source in sources(guests)]
    doors = {"file": (files, {}), "module": ([Path(file).stem for file in files], module_path(guests))}
    for door, (plugins, env) in doors.items():
        outcome = guests.run(*run(tiny, *plugins), "--out", door, env=env)
        assert outcome.err.startswith("guests: 15 jobs, 15 kept, 0 to run"), outcome.err  # the keys are in the store
        assert list(map(lasting, guests.rows(door))) == rows

    objects = [tiny, *(loaded(Path(file), Path(file).stem) for file in files)]
    where = {"out": guests.folder / "object", "store": guests.folder / "another-store"}
    assert finefuse.run(guests.folder / "guests.toml", plugins=objects, device="cpu", quiet=True, **where).ok
    assert {row["cell"]: row for row in map(lasting, guests.rows("object"))} == {row["cell"]: row for row in rows}
    assert len({guests.scores(door) for door in ("entry-point", "file", "module", "object")}) == 1


def run(*plugins: str) -> list[str]:
    return ["run", "guests.toml", "--device", "cpu", *(word for plugin in plugins for word in ("--plugin", plugin))]


def ranked(board: str) -> set[str]:
    """The strategies of a board's lines that have a rank."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in board.splitlines() if "|" in line]
    return {row[2] for row in cells if row[0].rstrip("=").isdigit()}  # after the rank and its interval
