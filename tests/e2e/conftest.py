"""The command line in a process of its own, a folder and a store for it, and what it leaves there."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from finefuse.cli import main
from helpers.waiting import eventually

FIXTURES = Path(__file__).parents[1] / "fixtures"
CLOCK = ("seconds", "cpu_seconds", "seconds_members", "peak_memory", "contended", "finished", "machine", "latency")
CLOCK += ("energy.", "no_energy", "job_seconds")


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Place:
    """A folder to run finefuse in, with a store of its own, which also marks every process that belongs to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.store = folder / "store"

    def environment(self, **more: str) -> dict[str, str]:
        own = {"FINEFUSE_STORE": str(self.store), "XDG_CACHE_HOME": str(self.folder / "cache"), "OMP_NUM_THREADS": "1"}
        path = filter(None, (more.pop("PYTHONPATH", ""), os.environ.get("PYTHONPATH", "")))
        return {**os.environ, **own, "PYTHONPATH": os.pathsep.join(path), **more}

    def run(self, *arguments: object, **options: Any) -> Outcome:
        """`finefuse ARGUMENTS` to its end; `env` is added to the environment, `python` stands for `-m finefuse`."""
        env = self.environment(**options.pop("env", {}))
        command = [sys.executable, *options.pop("python", ("-m", "finefuse")), *map(str, arguments)]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, **options)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def call(self, *arguments: object) -> Outcome:
        """The same in this process, which has torch already: for commands whose process is not what is tested."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.folder), pytest.MonkeyPatch.context() as patch:
            patch.setenv("FINEFUSE_STORE", str(self.store))
            with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
                main(list(map(str, arguments)))
        assert isinstance(ended.value.code, int)
        return Outcome(ended.value.code, out.getvalue(), err.getvalue())

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """The same in the background, with a process group of its own as under a terminal."""
        command = [sys.executable, "-m", "finefuse", *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(),
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
        )

    def write(self, name: str, text: str) -> Path:
        """A file in the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def rows(self, out: str) -> list[dict[str, Any]]:
        """All whole rows of a results folder, old and new."""
        path = self.folder / out / "records.jsonl"
        whole = path.read_text().split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in whole]

    def scores(self, out: str) -> bytes:
        """The bytes of `scores.csv`."""
        return (self.folder / out / "scores.csv").read_bytes()

    def processes(self) -> list[psutil.Process]:
        """Every living process that was started from here, orphans too."""
        return [process for process in psutil.process_iter() if _store_of(process) == str(self.store)]

    def empty(self) -> bool:
        """Whether all of them end, which a kill takes a moment to do."""
        return eventually(lambda: not self.processes())


def _store_of(process: psutil.Process) -> str | None:
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE
        return process.environ().get("FINEFUSE_STORE") if alive else None
    except psutil.Error:
        return None


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty folder to run finefuse in."""
    return Place(tmp_path / "place")


@pytest.fixture(scope="session")
def new_place(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Place]:
    """Makes empty folders, for fixtures that tests share."""
    return lambda: Place(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="session")
def tiny() -> str:
    """The path of the plugin with tiny data sets and networks."""
    return str(FIXTURES / "plugins" / "tiny.py")


@pytest.fixture(scope="session")
def tiny_suite() -> str:
    """The text of a suite that uses it, with 72 jobs."""
    return (FIXTURES / "suites" / "tiny.toml").read_text()


@pytest.fixture(scope="session")
def snapshot() -> Callable[[Path], dict[str, str]]:
    """Digests of all files below a folder, by name."""

    def take(folder: Path) -> dict[str, str]:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    return take


@pytest.fixture(scope="session")
def lasting() -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """What of a row must be the same in every run: all that was not measured with a clock."""
    return lambda row: {name: value for name, value in row.items() if not name.startswith(CLOCK)}
