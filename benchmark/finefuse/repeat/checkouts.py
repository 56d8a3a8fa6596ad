"""What git has of the project in a folder: its commits, and the working tree as it is. Changes nothing in there."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from finefuse.errors import FinefuseError, did_you_mean

_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX")
"""Variables that git sets for its hooks, and that would lead away from the folder that is meant."""


@dataclass(frozen=True)
class Project:
    """A project in a git repository: `top` is the working tree, and `folder` the project's place in it."""

    top: Path
    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Project:
        """The project in this folder, which needs not be the top of its repository.

        Raises:
            FinefuseError: if it lies in no git repository.
        """
        try:
            top = Path(_git(folder, "rev-parse", "--show-toplevel"))
        except FinefuseError as error:
            raise FinefuseError(f"{folder.resolve()} lies in no git repository: {error}") from None
        return cls(top, Path(_git(folder, "rev-parse", "--show-prefix") or "."))

    def commit(self, reference: str) -> str:
        """The commit that a reference means.

        Raises:
            FinefuseError: if there is none, with the nearest branch or tag.
        """
        asked = "rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}"
        try:
            return _git(self.top, *asked)
        except FinefuseError:
            known = _git(self.top, "for-each-ref", "--format=%(refname:short)").split()
            hint = did_you_mean(reference, known)
            raise FinefuseError(f"{self.top} has no git reference {reference!r}{hint}") from None

    def changed(self) -> int:
        """How many files of the working tree differ from the last commit, new ones too."""
        told = _git(self.top, "status", "--porcelain", "--untracked-files=all")
        return len(told.splitlines())


@dataclass(frozen=True)
class Checkout:
    """Files of a project in a folder of their own; `tree` tells their content."""

    top: Path
    folder: Path
    tree: str


def check_out(project: Project, commit: str, to: Path, *, as_it_is: bool = False) -> Checkout:
    """Write the files of a commit, or the working tree `as_it_is` above that commit, into a new repository.

    It borrows the objects of the project's own, which is only read. What git ignores is left out.

    Raises:
        FinefuseError: if git can't do it, or the project can't be installed from there.
    """
    to.mkdir(parents=True)
    _git(to, "init", "--quiet", f"--object-format={_git(project.top, 'rev-parse', '--show-object-format')}")
    own = to / ".git"
    (own / "info").mkdir(exist_ok=True)
    (own / "objects" / "info" / "alternates").write_text(f"{_path(project, 'objects')}\n", encoding="utf-8")
    for name in ("shallow", "info/exclude"):
        if (file := _path(project, name)).is_file():
            shutil.copyfile(file, own / name)
    tags = _git(project.top, "for-each-ref", "--format=%(objectname) %(refname)", "refs/tags")
    (own / "packed-refs").write_text(f"{tags}\n" if tags else "", encoding="utf-8")  # versions may be made of tags
    _git(to, "update-ref", "--no-deref", "HEAD", commit)
    _git(to, "read-tree", commit)
    if as_it_is:
        _git(to, f"--git-dir={own}", f"--work-tree={project.top}", "add", "--all", str(project.top))
    tree = _git(to, "write-tree")
    _git(to, "read-tree", "--reset", "-u", tree)
    place = to / project.folder
    if not any((place / name).is_file() for name in ("pyproject.toml", "setup.py")):
        raise FinefuseError(
            f"{project.top / project.folder} has no pyproject.toml at {commit[:10]}, so it can't be installed; to "
            "compare two versions of a plugin file, write both to files."
        )
    return Checkout(to, place, tree)


def _path(project: Project, name: str) -> Path:
    """Where the project's repository has this file, whichever of its working trees this is."""
    return project.top / _git(project.top, "rev-parse", "--git-path", name)


def _git(folder: Path, *arguments: str) -> str:
    variables = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, errors="replace", env=variables
        )
    except OSError as error:
        raise FinefuseError(f"git can't be started: {error.strerror or error}") from error
    if done.returncode:
        said = " ".join(done.stderr.split()).removeprefix("fatal: ") or f"exit code {done.returncode}"
        raise FinefuseError(f"git {arguments[0]}: {said}")
    return done.stdout.strip()
