"""What git has of the project in a folder: its commits, and the working tree as it is. Changes nothing in there."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from finefuse.errors import FinefuseError, did_you_mean
from finefuse.git import git


@dataclass(frozen=True)
class Project:
    """A project in a git repository: `top` is the working tree, and `folder` the project's place in it."""

    top: Path
    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Project:
        """The project in this folder, which need not be the top of its repository.

        Raises:
            FinefuseError: if it lies in no git repository.
        """
        try:
            top = Path(git(folder, "rev-parse", "--show-toplevel"))
        except FinefuseError as error:
            raise FinefuseError(f"{folder.resolve()} lies in no git repository: {error}") from None
        return cls(top, Path(git(folder, "rev-parse", "--show-prefix") or "."))

    def commit(self, reference: str) -> str:
        """The commit that a reference means.

        Raises:
            FinefuseError: if there is none, with the nearest branch or tag.
        """
        asked = "rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}"
        try:
            return git(self.top, *asked)
        except FinefuseError:
            known = git(self.top, "for-each-ref", "--format=%(refname:short)").split()
            hint = did_you_mean(reference, known)
            raise FinefuseError(f"{self.top} has no git reference {reference!r}{hint}") from None

    def changed(self) -> int:
        """How many files of the working tree differ from the last commit, new ones too."""
        told = git(self.top, "status", "--porcelain", "--untracked-files=all")
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
    git(to, "init", "--quiet", f"--object-format={git(project.top, 'rev-parse', '--show-object-format')}")
    own = to / ".git"
    (own / "info").mkdir(exist_ok=True)
    (own / "objects" / "info" / "alternates").write_text(f"{_path(project, 'objects')}\n", encoding="utf-8")
    for name in ("shallow", "info/exclude"):
        if (file := _path(project, name)).is_file():
            shutil.copyfile(file, own / name)
    tags = git(project.top, "for-each-ref", "--format=%(objectname) %(refname)", "refs/tags")
    (own / "packed-refs").write_text(f"{tags}\n" if tags else "", encoding="utf-8")  # versions may be made of tags
    git(to, "update-ref", "--no-deref", "HEAD", commit)
    git(to, "read-tree", commit)
    if as_it_is:
        git(to, f"--git-dir={own}", f"--work-tree={project.top}", "add", "--all", str(project.top))
    tree = git(to, "write-tree")
    git(to, "read-tree", "--reset", "-u", tree)
    place = to / project.folder
    if not any((place / name).is_file() for name in ("pyproject.toml", "setup.py")):
        raise FinefuseError(
            f"{project.top / project.folder} has no pyproject.toml at {commit[:10]}, so it can't be installed; to "
            "compare two versions of a plugin file, write both to files."
        )
    return Checkout(to, place, tree)


def _path(project: Project, name: str) -> Path:
    """Where the project's repository has this file, whichever of its working trees this is."""
    return project.top / git(project.top, "rev-parse", "--git-path", name)
