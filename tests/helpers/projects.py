"""Small packages in git repositories."""

from __future__ import annotations

import subprocess
from pathlib import Path

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "guest"
version = "1"

[tool.hatch.build.targets.wheel]
include = ["guest.py"]
"""


def git(folder: Path, *arguments: str) -> str:
    """What git answers."""
    own = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *own, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit_all(folder: Path) -> str:
    """Commit the working tree, and name the commit."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a change")
    return git(folder, "rev-parse", "HEAD")


def new_project(top: Path, which: str, place: str = ".") -> Path:
    """A repository with a package of one module, which says which one it is."""
    folder = top / place
    folder.mkdir(parents=True)
    git(top, "init", "--quiet")
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "guest.py").write_text(f"WHICH = {which!r}\n")
    commit_all(top)
    return top
