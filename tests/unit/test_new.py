from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from finefuse.discovery.registry import Registry
from finefuse.types import Ref
from helpers.calling import Outcome, call

Cli = Callable[..., Outcome]


@pytest.fixture
def new(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Calls `finefuse new` from an empty folder."""
    monkeypatch.chdir(tmp_path)

    return lambda *arguments: call(capsys, "new", *arguments)


KINDS = ("scheme", "fusion", "dataset", "backbone", "metric", "executor", "reporter", "observer", "suite")


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_two_files_and_a_test_are_written_and_told(new: Cli, tmp_path: Path, kind: str) -> None:
    outcome = new(kind, "my-method")
    folder = tmp_path / "finefuse-my-method"
    files = ["finefuse_my_method.py", "pyproject.toml", "test_my_method.py"]
    assert (outcome.code, outcome.err) == (0, "")
    assert sorted(file.name for file in folder.iterdir()) == files
    for file in files:
        assert f"finefuse-my-method/{file}\n" in outcome.out
    assert "pip install -e finefuse-my-method" in outcome.out
    used = f"finefuse run quick --{kind} my-method" if kind in KINDS[5:] else f'put "my-method" among the {kind}s'
    assert used in outcome.out


def test_a_suite_has_a_file_more(new: Cli, tmp_path: Path) -> None:
    outcome = new("suite", "my-suite")
    names = ["finefuse_my_suite.py", "my-suite.toml", "pyproject.toml", "test_my_suite.py"]
    assert sorted(file.name for file in (tmp_path / "finefuse-my-suite").iterdir()) == names
    assert outcome.out.endswith("then run it: finefuse run my-suite\n")


def test_into_names_the_folder(new: Cli, tmp_path: Path) -> None:
    assert new("scheme", "thaw", "--into", "deep/er").code == 0
    assert (tmp_path / "deep" / "er" / "finefuse_thaw.py").is_file()


def test_the_metadata_names_the_entry_point_and_the_module(new: Cli, tmp_path: Path) -> None:
    new("fusion", "my_method")
    project = tomllib.loads((tmp_path / "finefuse-my_method" / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["finefuse"] == {"my_method": "finefuse_my_method"}
    assert project["build-system"]["build-backend"] == "hatchling.build"
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"] == ["finefuse_my_method.py"]


def test_the_file_of_a_suite_is_in_its_wheel(new: Cli, tmp_path: Path) -> None:
    new("suite", "mine")
    project = tomllib.loads((tmp_path / "finefuse-mine" / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"] == ["finefuse_mine.py", "mine.toml"]


@pytest.mark.parametrize(("kind", "name"), [(kind, f"thaw-{kind}") for kind in KINDS[:-1]])
def test_the_plugin_is_found_sound_and_shown(new: Cli, tmp_path: Path, kind: str, name: str) -> None:
    new(kind, name, "--into", tmp_path)
    registry = Registry([str(tmp_path / f"finefuse_{name.replace('-', '_')}.py")])
    assert [info.reason for info in registry.plugins() if info.status == "broken"] == []
    first, *_ = registry.parameters(kind, name)  # type: ignore[arg-type]
    assert first.bounds or kind in KINDS[5:]
    assert registry.build(kind, Ref(name))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["scheme", "fusion"])
def test_listing_it_needs_no_torch(new: Cli, tmp_path: Path, kind: str) -> None:
    new(kind, "quiet", "--into", tmp_path)
    code = (
        "import sys; from finefuse.discovery.registry import Registry; from finefuse.types import Ref\n"
        f"Registry(['finefuse_quiet']).build({kind!r}, Ref('quiet')); sys.exit('torch._C' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_tidy(new: Cli, tmp_path: Path, kind: str) -> None:
    new(kind, "tidy", "--into", tmp_path)
    rules = ["--isolated", "--line-length", "120", "--target-version", "py311"]
    for check in (["check", "--select", "B,E,F,I,N,RUF,UP,W"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, *rules, "."], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "$" not in "".join(file.read_text() for file in tmp_path.iterdir() if file.is_file())


@pytest.mark.parametrize(
    "name", ["", "My-Method", "2fast", "-x", "x-", "a--b", "über", "a b", "a.b", "../up", "a/b", "class-", "a\n"]
)
def test_a_name_that_cannot_be_one_is_refused(new: Cli, tmp_path: Path, name: str) -> None:
    outcome = new("scheme", "--", name)
    assert outcome.code == 2
    assert (
        outcome.err
        == f"error: {name!r} can't be a plugin's name; use small letters, digits and hyphens, as in my-method\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("scheme", "full", "there is a scheme 'full' already, from finefuse_zoo.hooks; choose another name"),
        ("fusion", "vote", "there is a fusion 'vote' already, from finefuse_zoo.hooks; choose another name"),
        ("suite", "quick", "there is a suite 'quick' already, from finefuse_zoo.hooks; choose another name"),
        ("executor", "local", "there is an executor 'local' already, from finefuse_zoo.hooks; choose another name"),
        ("scheme", "zoo", "there is a module 'finefuse_zoo' already; choose another name than 'zoo'"),
        ("scheme", "none", "a class 'None' would clash with Python's or finefuse's; choose another name"),
        ("scheme", "tuning", "a class 'Tuning' would clash with Python's or finefuse's; choose another name"),
        ("fusion", "entry", "a class 'Entry' would clash with Python's or finefuse's; choose another name"),
    ],
)
def test_a_name_that_is_taken_is_refused(new: Cli, tmp_path: Path, kind: str, name: str, message: str) -> None:
    assert new(kind, name) == Outcome(2, "", f"error: {message}\n")
    assert not list(tmp_path.iterdir())


def test_a_scheme_may_have_the_name_of_a_fusion(new: Cli) -> None:
    assert new("scheme", "vote").code == 0


@pytest.mark.parametrize("there", ["pyproject.toml", "finefuse_thaw.py", "test_thaw.py"])
def test_nothing_is_overwritten_and_nothing_half_written(new: Cli, tmp_path: Path, there: str) -> None:
    (tmp_path / "finefuse-thaw").mkdir()
    (tmp_path / "finefuse-thaw" / there).write_text("precious")
    outcome = new("scheme", "thaw")
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: finefuse-thaw/{there} exists already and is left unchanged")
    assert [file.read_text() for file in (tmp_path / "finefuse-thaw").iterdir()] == ["precious"]


def test_a_folder_that_cannot_be_written_to_is_a_sentence(new: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcome = new("scheme", "thaw", "--into", "file/below")
    assert outcome == Outcome(2, "", "error: can't write into file/below: Not a directory\n")
