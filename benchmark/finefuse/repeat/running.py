"""One run of a suite in an environment: a `finefuse run` of its own, with its own store unless told otherwise."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from finefuse.errors import FinefuseError
from finefuse.repeat.environments import Environment
from finefuse.rows import SCHEMA

PROBE = """
import importlib.metadata, importlib.util, json, os, sys
try:
    import finefuse
    from finefuse.rows import SCHEMA
    found = {"version": finefuse.__version__, "schema": SCHEMA}
except ImportError as error:
    found = {"error": f"{type(error).__name__}: {error}"}
alien, project = "", sys.argv[1]
if project:
    files = importlib.metadata.distribution(project).files or ()
    tops = {file.parts[0].removesuffix(".py") for file in files if file.suffix == ".py" and ".." not in file.parts}
    for top in sorted(tops):
        spec = importlib.util.find_spec(top)
        origin = spec.origin if spec else None
        if origin and not os.path.realpath(origin).startswith(os.path.realpath(sys.prefix) + os.sep):
            alien = alien or origin
print(json.dumps({**found, "alien": alien}))
"""
"""What an environment is asked before anything is run in it."""
INTERRUPTED = 130


@dataclass(frozen=True)
class Work:
    """What is run, the same in every environment; `doors` are plugins besides the environment's, `timeout` seconds."""

    suite: str
    only: tuple[str, ...] = ()
    device: str = "auto"
    portable: bool = False
    workers: int | None = None
    doors: tuple[str, ...] = ()
    timeout: float | None = None

    def options(self) -> list[str]:
        """Those that `finefuse run` has for it."""
        patterns = [word for pattern in self.only for word in ("--only", pattern)]
        workers = [] if self.workers is None else ["--workers", str(self.workers)]
        return ["--device", self.device, *(["--portable"] if self.portable else []), *workers, *patterns]


def check(environment: Environment, work: Work | None = None) -> None:
    """Whether an environment has a finefuse whose rows this one can read, and knows the suite.

    Raises:
        FinefuseError: if not, with the reason.
    """
    done = _call(environment, ["-c", PROBE, environment.project])
    try:
        found = json.loads(done.said.splitlines()[-1])
    except (ValueError, IndexError):
        raise FinefuseError(f"{environment.name} can't be used: {done.end()}") from None
    if "error" in found:
        raise FinefuseError(f"{environment.name} has no finefuse that can be used: {found['error']}")
    if found["schema"] != SCHEMA:
        theirs = f"finefuse {found['version']}, whose rows have schema {found['schema']}"
        raise FinefuseError(f"{environment.name} has {theirs}; this one reads schema {SCHEMA}")
    if found["alien"]:
        raise FinefuseError(f"{environment.name} is hidden by {found['alien']}: uninstall that first")
    if work:
        done = _call(environment, ["-m", "finefuse", "check", work.suite, *_doors(environment, work)])
        if done.code:
            raise FinefuseError(f"{environment.name}: {done.end()}")


def run_suite(environment: Environment, work: Work, out: Path, *, store: Path | None = None) -> Path:
    """Run a suite into a new folder and return it; without a `store` nothing is there to begin with, nor kept.

    Rows may have failed: they are in the folder. No reports are written.

    Raises:
        FinefuseError: if the run can't begin, dies or takes too long, with the end of what it said.
        KeyboardInterrupt: if it was interrupted.
    """
    with contextlib.ExitStack() as kept:
        if store is None:
            store = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="finefuse-store-")))
        places = ["--out", str(out), "--store", str(store), "--quiet", "--reporter", "none"]
        arguments = ["-m", "finefuse", "run", work.suite, *work.options(), *places, *_doors(environment, work)]
        done = _call(environment, arguments, work.timeout)
    if done.code == INTERRUPTED:
        raise KeyboardInterrupt
    if done.code not in (0, 1) or not (out / "records.jsonl").is_file():
        raise FinefuseError(f"{environment.name}: {done.end()}")
    return out


@dataclass(frozen=True)
class _Done:
    """A process that has ended: its exit code, None if it took too long, and all that it said."""

    code: int | None
    said: str
    seconds: float | None = None

    def end(self) -> str:
        """How it ended, in one sentence: the error that it told, else the last lines of what it said."""
        lines = [" ".join(line.split()) for line in self.said.splitlines() if line.strip()]
        told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        if self.code is None:
            how = f"took more than {self.seconds:g} seconds"
        elif told:
            return told[-1]
        else:
            how = f"ended with exit code {self.code}"
        return f"{how}: {' / '.join(lines[-3:])}" if lines else how


def _doors(environment: Environment, work: Work) -> list[str]:
    return [word for door in (*environment.doors, *work.doors) for word in ("--plugin", door)]


def _call(environment: Environment, arguments: Sequence[str], timeout: float | None = None) -> _Done:
    command = [os.fspath(environment.python), *arguments]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**environment.variables(), "PYTHONIOENCODING": "utf-8"},
        )
    except OSError as error:
        raise FinefuseError(f"{environment.name} can't be started: {error.strerror or error}") from error
    with process:
        try:
            said, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            return _Done(None, process.communicate()[0], timeout)
        except BaseException:
            _end(process)
            raise
    return _Done(process.returncode, said)


def _end(process: subprocess.Popen[str]) -> None:
    """End a process with all that it started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(process.pid)
        for one in (*top.children(recursive=True), top):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
