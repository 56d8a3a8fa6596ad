"""Environments that are made, found again, and thrown away half-made. Two of them are really installed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from finefuse.errors import FinefuseError
from finefuse.repeat import environments
from finefuse.repeat.environments import (
    MADE,
    Environment,
    current_environment,
    named,
    of_reference,
    of_working_tree,
    with_requirements,
)
from finefuse.repeat.running import check
from helpers.projects import new_project


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "environments"


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[list[str]]]:
    """A pip that installs nothing and says this; the list of what it was told."""

    def answering(said: str) -> list[list[str]]:
        told: list[list[str]] = []
        monkeypatch.setattr(environments, "_pip", lambda folder, arguments: told.append(list(arguments)) or said)
        return told

    return answering


def ask(environment: Environment, program: str, folder: Path) -> str:
    """What a program prints that is run in an environment, from this folder."""
    command = [environment.python, "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment.variables(), check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_reference_is_installed_above_what_is_there_and_found_again(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the current folder nor an editable install of the same project stands in for it."""
    top = new_project(tmp_path / "guest", "one")
    (top / "guest.py").write_text("WHICH = 'two'\n")
    monkeypatch.setenv("PYTHONPATH", f"{top}:{Path(environments.__file__).parents[2]}")
    first = of_reference("HEAD", top)
    assert ask(first, "import guest, numpy, finefuse; print(guest.WHICH)", top) == "one"
    assert ask(current_environment(), "import guest; print(guest.WHICH)", tmp_path) == "two"
    assert first.project == "guest"
    check(first)
    monkeypatch.setattr(environments, "_pip", None)
    assert of_reference("HEAD", top) == first
    hidden = Environment(first.name, first.python, project="pytest")  # which stands elsewhere
    with pytest.raises(FinefuseError, match=r"is hidden by .+pytest"):
        check(hidden)


def test_the_working_tree_and_what_differs_in_it(
    cache: Path, tmp_path: Path, pip: Callable[[str], list[list[str]]]
) -> None:
    top = new_project(tmp_path / "guest", "one")
    (top / "more.py").write_text("")
    told = pip("no compiler")
    with pytest.raises(
        FinefuseError, match=r"^the working tree \([0-9a-f]{10} and 1 changed file\) can't be installed: no compiler$"
    ):
        of_working_tree(top)
    assert ["--no-build-isolation" in arguments for arguments in told] == [True, False]
    assert [path.suffix for path in cache.iterdir()] == [".lock"]  # nothing half-made is left


def test_versions_of_packages_are_made_once(cache: Path, pip: Callable[[str], list[list[str]]]) -> None:
    told = pip("")
    (folder,) = {with_requirements(["a==1", "b"]).python.parents[1] for _ in range(2)}
    assert told == [["a==1", "b"]]
    assert with_requirements(["b", "a==1"]).python.parents[1] == folder
    (folder / MADE).unlink()
    (folder / "half").write_text("made")
    with_requirements(["a==1", "b"])
    assert len(told) == 2
    assert not (folder / "half").exists()


def test_what_was_used_longest_ago_is_deleted_beyond_a_number_and_nothing_of_the_last_week(
    cache: Path, pip: Callable[[str], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pip("")
    monkeypatch.setattr(environments, "KEPT", 1)
    made = {name: with_requirements([name]).python.parents[1] / MADE for name in ("a", "b", "c")}
    days = {"a": 30, "b": 20, "c": 1}
    for name, ago in days.items():
        os.utime(made[name], (time.time() - ago * 86400,) * 2)
    with_requirements(["a"])  # which is used again, and nothing is made
    assert all(file.is_file() for file in made.values())
    with_requirements(["d"])
    assert [name for name, file in made.items() if file.parent.exists()] == ["a", "c"]
    with_requirements(["b"])
    assert made["b"].is_file()


def test_a_package_in_a_file_or_folder_is_installed_anew_when_it_has_changed(
    cache: Path, pip: Callable[[str], list[list[str]]], tmp_path: Path
) -> None:
    told, package = pip(""), tmp_path / "package"
    package.mkdir()
    for text, runs in (("one = 1", 1), ("one = 1", 1), ("one = 2", 2)):
        (package / "module.py").write_text(text)
        with_requirements([str(package)])
        assert len(told) == runs


def test_another_set_of_packages_is_another_environment(
    cache: Path, pip: Callable[[str], list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pip("")
    first = with_requirements(["a==1"])
    monkeypatch.setattr(metadata, "distributions", list)
    assert with_requirements(["a==1"]).python != first.python


def test_versions_that_pip_does_not_find(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(FinefuseError, match=r"^pytest==1,>1 can't be installed: .*pytest"):
        with_requirements(["pytest==1,>1"])
    with pytest.raises(FinefuseError, match=r"'-r x' is no requirement: write one such as 'torch==2.13'"):
        with_requirements(["-r x"])


def test_an_environment_that_is_there(tmp_path: Path) -> None:
    found = named(sys.prefix, tmp_path)
    assert found.python == Path(sys.prefix) / "bin" / "python"
    assert named(sys.executable, tmp_path).python == Path(sys.executable)
    assert "PYTHONPATH" not in found.variables()


def test_a_plugin_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    file = tmp_path / "plug.py"
    with pytest.raises(FinefuseError, match=f"there is no plugin file {file}"):
        named(str(file), tmp_path)
    file.write_text("")
    found = named(str(file), tmp_path)
    assert found.doors == (str(file),)
    assert found.variables()["PYTHONPATH"] == "/somewhere"


def test_words_that_mean_nothing(tmp_path: Path) -> None:
    with pytest.raises(FinefuseError, match=f"{tmp_path} is a folder without a Python in it, and no git reference: "):
        named(str(tmp_path), tmp_path)
    (tmp_path / "text").write_text("")
    with pytest.raises(FinefuseError, match="text is no Python, nor a folder with one"):
        named(str(tmp_path / "text"), tmp_path)
