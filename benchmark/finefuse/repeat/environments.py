"""Environments to run a suite in: a git reference, another Python, a plugin file, other versions of a package.

What is made lies in the cache folder under `environments`, by content. What is unused can be deleted at any time; the
oldest beyond a number are deleted here.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from finefuse.errors import FinefuseError
from finefuse.files import cache_folder, content_digest, digest_of_text, only_one, write_whole
from finefuse.repeat.checkouts import Checkout, Project, check_out

MADE = "made.json"
"""The file that an environment gets last: without it, one is half-made."""
KEPT = 12
"""How many environments are kept, whenever they were used."""
WEEK = 7 * 24 * 3600.0
"""Seconds after its last use for which an environment is kept in any case, as a run in it may be going on."""
_OTHERS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
"""Variables that would make one Python look into another's packages."""
_PIP = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")
"""Variables that would make pip install elsewhere."""


@dataclass(frozen=True)
class Environment:
    """A Python with finefuse, and the plugins that a run in it is given; `name` says for people which it is.

    `current` is true of the one that this process runs in: only there `PYTHONPATH` counts. `project` is the
    distribution that was installed from a checkout.
    """

    name: str
    python: Path
    doors: tuple[str, ...] = ()
    current: bool = False
    project: str = ""

    def variables(self) -> dict[str, str]:
        """Environment variables for its processes, which import nothing from the current folder."""
        kept = {name: value for name, value in os.environ.items() if self.current or name not in _OTHERS}
        return {**kept, "PYTHONSAFEPATH": "1"}


def current_environment() -> Environment:
    """The one that this process runs in."""
    return Environment("this environment", Path(sys.executable), current=True)


def named(text: str, folder: Path) -> Environment:
    """The environment that a word of the command line means, for the project in `folder`.

    A file `*.py` is a plugin, another file or a folder with `bin/python` an environment, all else a git reference.

    Raises:
        FinefuseError: if it means nothing, or can't be made.
    """
    path = Path(text).expanduser()
    if path.suffix == ".py":
        return of_plugin(path)
    if path.is_file() or any(_pythons(path)):
        return of_python(path)
    try:
        return of_reference(text, folder)
    except FinefuseError as error:
        if path.is_dir():
            raise FinefuseError(f"{path} is a folder without a Python in it, and no git reference: {error}") from None
        raise


def of_plugin(file: Path) -> Environment:
    """This environment with a plugin file.

    Raises:
        FinefuseError: if there is no such file.
    """
    if not file.is_file():
        raise FinefuseError(f"there is no plugin file {file}")
    return Environment(str(file), Path(sys.executable), (str(file.resolve()),), current=True)


def of_python(path: Path) -> Environment:
    """An existing environment, by its folder or its Python.

    Raises:
        FinefuseError: if there is no Python.
    """
    found = path if path.is_file() else next(iter(_pythons(path)), None)
    if found is None or not os.access(found, os.X_OK):
        raise FinefuseError(f"{path} is no Python, nor a folder with one")
    return Environment(str(path), found.absolute())


def of_reference(reference: str, folder: Path) -> Environment:
    """The project in `folder` as a git reference has it, installed above the packages of this environment.

    Raises:
        FinefuseError: without a git repository or such a reference, or if it can't be installed.
    """
    project = Project.at(folder)
    commit = project.commit(reference)
    return _installed(project, commit, f"{reference} ({commit[:10]})")


def of_working_tree(folder: Path) -> Environment:
    """The same as the files of the project are now, new ones too, but without those that git ignores.

    Raises:
        FinefuseError: as in `of_reference`.
    """
    project = Project.at(folder)
    commit, changed = project.commit("HEAD"), project.changed()
    more = f" and {changed} changed file{'s' * (changed > 1)}" if changed else ""
    return _installed(project, commit, f"the working tree ({commit[:10]}{more})", as_it_is=True)


def with_requirements(requirements: Sequence[str]) -> Environment:
    """This environment with other versions of packages, such as `torch==2.13`, and what these need.

    Raises:
        FinefuseError: if pip can't install them.
    """
    if wrong := [text for text in requirements if not text.strip() or text.lstrip().startswith("-")]:
        raise FinefuseError(f"{wrong[0]!r} is no requirement: write one such as 'torch==2.13'.")
    name = " ".join(requirements)
    has = sorted({f"{one.name}=={one.version}" for one in metadata.distributions()})

    def fill(folder: Path) -> str:
        if said := _pip(folder, [*requirements]):
            raise FinefuseError(f"{name} can't be installed: {said}")
        return ""

    files = [content_digest(path) for text in sorted(requirements) if (path := Path(text)).exists()]
    folder, _ = _made(("requirements", *sorted(requirements), *files, *has), fill)
    return Environment(name, _python(folder))


def _installed(project: Project, commit: str, name: str, *, as_it_is: bool = False) -> Environment:
    with tempfile.TemporaryDirectory(prefix="finefuse-") as scratch:
        checkout = check_out(project, commit, Path(scratch) / "checkout", as_it_is=as_it_is)
        at = ("checkout", checkout.tree, str(project.folder))
        folder, installed = _made(at, lambda folder: _install(folder, checkout, name))
    return Environment(name, _python(folder), project=installed)


def _install(folder: Path, checkout: Checkout, name: str) -> str:
    """Install a checkout, built by what is there already if that will do; the name of the distribution."""
    report = folder / "report.json"
    options = ["--no-deps", "--ignore-installed", "--report", str(report), str(checkout.folder)]
    if _pip(folder, ["--no-build-isolation", "--check-build-dependencies", *options]) and (
        said := _pip(folder, options)
    ):
        raise FinefuseError(f"{name} can't be installed: {said}")
    (found,) = json.loads(report.read_text(encoding="utf-8"))["install"]
    return str(found["metadata"]["name"])


def _made(parts: Sequence[str], fill: Callable[[Path], str]) -> tuple[Path, str]:
    """The folder of an environment with these contents, made if there is none, and what `fill` said of it."""
    behind = _behind()
    key = digest_of_text("1", sys.executable, sys.version, behind, *parts)
    folder = cache_folder() / "environments" / key
    made = folder / MADE
    with only_one(folder.with_suffix(".lock")):
        if fresh := not made.is_file():
            shutil.rmtree(folder, ignore_errors=True)  # of one that was interrupted
            try:
                _make_empty(folder, behind)
                write_whole(made, json.dumps({"made of": parts, "project": fill(folder)}))
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        os.utime(made)  # when it was last used
        project = str(json.loads(made.read_text(encoding="utf-8"))["project"])
    if fresh:
        _delete_old(folder.parent)
    return folder, project


def _delete_old(environments: Path) -> None:
    """Delete those that were used longest ago, beyond `KEPT`, and none of the last week's."""
    for made in sorted(environments.glob(f"*/{MADE}"), key=_last_used, reverse=True)[KEPT:]:
        with only_one(made.parent.with_suffix(".lock")):
            if time.time() - _last_used(made) > WEEK:
                made.unlink(missing_ok=True)  # first, so that no half of it is taken for whole
                shutil.rmtree(made.parent, ignore_errors=True)


def _last_used(made: Path) -> float:
    try:
        return made.stat().st_mtime
    except FileNotFoundError:  # another process deleted it
        return math.inf


def _make_empty(folder: Path, behind: str) -> None:
    """An environment with nothing of its own but a way to pip."""
    try:
        venv.create(folder, symlinks=os.name != "nt", with_pip=importlib.util.find_spec("pip") is None)
        (_packages(folder) / "_behind.pth").write_text(behind, encoding="utf-8")
    except (OSError, subprocess.CalledProcessError) as error:
        raise FinefuseError(f"{folder}: no environment can be made here: {error}") from error


def _behind() -> str:
    """A .pth file with this environment's packages, which come after an environment's own."""
    paths = [] if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "").split(os.pathsep)
    places = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    lines = [str(Path(path).resolve()) for path in paths if path]
    return "".join(f"{line}\n" for line in (*lines, *(f"import site; site.addsitedir({place!r})" for place in places)))


def _pip(folder: Path, arguments: Sequence[str]) -> str:
    """Let pip install something into an environment; the end of what it said, empty if it succeeded."""
    variables = {name: value for name, value in os.environ.items() if name not in (*_OTHERS, *_PIP)}
    done = subprocess.run(
        [
            str(_python(folder)),
            "-P",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-input",
            "--no-warn-conflicts",
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**variables, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    if not done.returncode:
        return ""
    lines = [" ".join(line.split()) for line in done.stdout.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    return "; ".join(errors or lines[-3:]) or f"pip ended with exit code {done.returncode}"


def _pythons(folder: Path) -> list[Path]:
    return [python for python in (folder / "bin" / "python", folder / "Scripts" / "python.exe") if python.is_file()]


def _python(folder: Path) -> Path:
    return _pythons(folder)[0]


def _packages(folder: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", vars={"base": str(folder)}))
