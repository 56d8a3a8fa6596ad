"""Runs in processes of their own, of a finefuse that does what it is told and nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from finefuse.errors import FinefuseError
from finefuse.repeat.environments import Environment, current_environment
from finefuse.repeat.running import Work, check, run_suite

ARGUMENTS = """
import json, pathlib, sys
def given(name): return pathlib.Path(sys.argv[sys.argv.index(name) + 1])
given("--out").mkdir()
(given("--out") / "records.jsonl").write_text(json.dumps(sys.argv[1:]))
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Environment]:
    """An environment in which finefuse is this program."""

    def make(program: str, schema: int = 1) -> Environment:
        room = tmp_path / "path" / "finefuse"
        room.mkdir(parents=True, exist_ok=True)
        (room / "__init__.py").write_text("__version__ = '9'")
        (room / "rows.py").write_text(f"SCHEMA = {schema}")
        (room / "__main__.py").write_text(program)
        monkeypatch.setenv("PYTHONPATH", str(room.parent))
        return Environment("the fake", Path(sys.executable), ("its.py",), current=True)

    return make


def test_a_run_has_its_own_store_and_all_options(fake: Callable[..., Environment], tmp_path: Path) -> None:
    work = Work("quick", ("lp-*",), "cpu", portable=True, workers=2, doors=("more.py",))
    folder = run_suite(fake(ARGUMENTS + "sys.exit(1)"), work, tmp_path / "out")  # some rows failed
    told = (folder / "records.jsonl").read_text()
    for option in ('"--device", "cpu", "--portable"', '"--workers", "2"', '"--only", "lp-*"', '"--reporter", "none"'):
        assert option in told
    assert '"--plugin", "its.py", "--plugin", "more.py"' in told
    store = told.split('"--store", "')[1].split('"')[0]
    assert not Path(store).exists()
    kept = run_suite(fake(ARGUMENTS), work, tmp_path / "again", store=tmp_path)
    assert f'"--store", "{tmp_path}"' in (kept / "records.jsonl").read_text()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("print('on the way'); print('error: no suite'); raise SystemExit(2)", "the fake: no suite"),
        ("print('a'); print('b'); raise SystemExit(5)", "the fake: ended with exit code 5: a / b"),
        ("import os; os.kill(os.getpid(), 9)", "the fake: ended with exit code -9"),
        ("", "the fake: ended with exit code 0"),
    ],
)
def test_a_run_that_gives_nothing(fake: Callable[..., Environment], tmp_path: Path, program: str, said: str) -> None:
    with pytest.raises(FinefuseError, match=f"^{said}$"):
        run_suite(fake(program), Work("quick"), tmp_path / "out")


def test_a_run_that_takes_too_long_ends_with_all_that_it_started(
    fake: Callable[..., Environment], tmp_path: Path
) -> None:
    program = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(999)']);"
    with pytest.raises(FinefuseError, match=r"^the fake: took more than 1\.5 seconds"):
        run_suite(fake(program + "time.sleep(999)"), Work("quick", timeout=1.5), tmp_path / "out")
    left = [child for child in psutil.Process().children(recursive=True) if "999" in " ".join(child.cmdline())]
    assert left == []


def test_interrupted(fake: Callable[..., Environment], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_suite(fake("raise SystemExit(130)"), Work("quick"), tmp_path / "out")


def test_what_is_checked_before(fake: Callable[..., Environment], tmp_path: Path) -> None:
    check(fake(""), Work("quick"))
    with pytest.raises(FinefuseError, match=r"^the fake: there is no suite 'quik'$"):
        check(fake("print(\"error: there is no suite 'quik'\"); raise SystemExit(2)"), Work("quik"))
    with pytest.raises(
        FinefuseError, match="the fake has finefuse 9, whose rows have schema 7; this one reads schema 1"
    ):
        check(fake("", schema=7))


def test_an_environment_without_finefuse(tmp_path: Path) -> None:
    bare = Environment("bare", Path(os.path.realpath(sys.executable)))
    with pytest.raises(FinefuseError, match="bare has no finefuse that can be used: ModuleNotFoundError"):
        check(bare)
    with pytest.raises(FinefuseError, match="gone can't be started: No such file or directory"):
        check(Environment("gone", tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\necho out of order\n")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(FinefuseError, match="odd can't be used: ended with exit code 0: out of order"):
        check(Environment("odd", tmp_path / "python"))


def test_this_environment() -> None:
    check(current_environment())
