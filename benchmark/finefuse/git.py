"""Git, as a program that is asked; what it complains of is one sentence."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from finefuse.errors import FinefuseError

_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX")
"""Variables that git sets for its hooks, and that would lead away from the folder that is meant."""


def git(folder: Path, *arguments: str) -> str:
    """What git prints in a folder, without white space around it.

    Raises:
        FinefuseError: if it can't be started or fails, with what it said.
    """
    return _ask(folder, *arguments).decode("utf-8", "replace").strip()


def blob(folder: Path, name: str) -> bytes:
    """A file as git has it, by a name such as `COMMIT:PATH`.

    Raises:
        FinefuseError: if there is none.
    """
    return _ask(folder, "cat-file", "blob", name)


def _ask(folder: Path, *arguments: str) -> bytes:
    variables = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, env=variables)
    except OSError as error:
        raise FinefuseError(f"git can't be started: {error.strerror or error}") from error
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split()).removeprefix("fatal: ")
        raise FinefuseError(f"git {arguments[0]}: {said or f'exit code {done.returncode}'}")
    return done.stdout
