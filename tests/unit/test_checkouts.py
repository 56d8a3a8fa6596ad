from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from finefuse.errors import FinefuseError
from finefuse.repeat.checkouts import Project, check_out
from helpers.projects import commit_all, git, new_project


def state(folder: Path) -> dict[str, str]:
    """All files of a repository, by their digests."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return new_project(tmp_path / "project", "one")


def test_a_commit_is_written_and_the_project_only_read(top: Path, tmp_path: Path) -> None:
    project = Project.at(top)
    before, first = state(top), project.commit("HEAD")
    found = check_out(project, first, tmp_path / "a")
    assert (found.folder / "guest.py").read_text() == "WHICH = 'one'\n"
    assert found.tree == git(top, "rev-parse", "HEAD^{tree}")
    assert state(top) == before


def test_the_working_tree_is_taken_as_it_is(top: Path, tmp_path: Path) -> None:
    (top / ".gitignore").write_text("built\n")
    (top / ".git" / "info" / "exclude").write_text("mine\n")
    (top / "spare.py").write_text("")
    commit_all(top)
    for name in ("built", "mine", "new.py"):
        (top / name).write_text("new")
    (top / "guest.py").write_text("WHICH = 'changed'\n")
    (top / "spare.py").unlink()
    project = Project.at(top)
    before = state(top)
    assert project.changed() == 3
    found = check_out(project, project.commit("HEAD"), tmp_path / "a", as_it_is=True)
    names = {path.name for path in found.folder.iterdir()}
    assert names == {".git", ".gitignore", "guest.py", "new.py", "pyproject.toml"}
    assert (found.folder / "guest.py").read_text() == "WHICH = 'changed'\n"
    assert state(top) == before


def test_a_project_below_the_top_from_a_shallow_clone_and_in_a_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = new_project(tmp_path / "all", "one", place="plugins/guest")
    (top / "plugins" / "guest" / "guest.py").write_text("WHICH = 'two'\n")
    commit_all(top)
    git(tmp_path, "clone", "--quiet", "--depth=1", top.as_uri(), "shallow")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    project = Project.at(tmp_path / "shallow" / "plugins" / "guest")
    found = check_out(project, project.commit("HEAD"), tmp_path / "a")
    assert (found.folder / "guest.py").read_text() == "WHICH = 'two'\n"
    assert found.folder == tmp_path / "a" / "plugins" / "guest"


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(FinefuseError, match=f"{tmp_path} lies in no git repository: .*not a git repository"):
        Project.at(tmp_path)


@pytest.mark.parametrize(
    ("reference", "hint"), [("mian", "; did you mean 'main'\\?"), ("--all", ""), ("HEAD:guest.py", "")]
)
def test_no_such_reference(top: Path, reference: str, hint: str) -> None:
    with pytest.raises(FinefuseError, match=f"{top} has no git reference '{reference}'{hint}$"):
        Project.at(top).commit(reference)


def test_what_can_not_be_installed(top: Path, tmp_path: Path) -> None:
    (top / "pyproject.toml").unlink()
    commit_all(top)
    project = Project.at(top)
    with pytest.raises(FinefuseError, match=r"has no pyproject.toml at [0-9a-f]{10}, so it can't be installed"):
        check_out(project, project.commit("HEAD"), tmp_path / "a")


def test_without_git(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(subprocess, "run", absent)
    with pytest.raises(FinefuseError, match="git can't be started: No such file or directory"):
        Project.at(top)
