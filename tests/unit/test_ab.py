"""The order of runs in pairs, which versions are compared, and how a comparison ends. Nothing is really run here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import finefuse
from finefuse.errors import FinefuseError
from finefuse.repeat.environments import Environment
from finefuse.repeat.running import Work
from helpers.calling import call
from helpers.gates import Pair, flip
from helpers.projects import new_project

Log = list[tuple[str, str]]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, pair: Pair) -> Log:
    """What was run where: a suite of one cell, in which a side whose name has "worse" loses 40 of 1,000 answers."""
    told: Log = []

    def run(environment: Environment, work: Work, out: Path) -> Path:
        told.append((environment.name, out.name))
        if "fatal" in environment.name:
            raise FinefuseError(f"{environment.name}: it is broken")
        if "slow" in environment.name:
            raise KeyboardInterrupt
        worse = {"outputs": "others"} if "worse" in environment.name else {"outputs": "same"}
        pair.build.write(out, [pair.row(flip(40, 0) if "worse" in environment.name else flip(0, 0), **worse)], ())
        return out

    monkeypatch.setattr("finefuse.repeat.ab.run_suite", run)
    monkeypatch.setattr(
        "finefuse.repeat.ab.check", lambda environment, work: told.append((environment.name, "checked"))
    )
    return told


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Names of plugin files that are there."""
    monkeypatch.chdir(tmp_path)

    def touch(name: str) -> str:
        (tmp_path / name).write_text("")
        return name

    return touch


def test_runs_take_turns_and_are_kept_where_that_is_wanted(
    ran: Log, files: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, new, out = files("a.py"), files("b.py"), tmp_path / "kept"
    ended = call(capsys, "ab", base, new, "--pairs", 3, "--out", out)
    assert ended.code == 0
    assert [name for name, what in ran if what == "checked"] == [base, new]
    runs = [what for _, what in ran if what != "checked"]
    assert runs == ["base-1", "new-1", "new-2", "base-2", "base-3", "new-3"]
    assert {path.name for path in out.iterdir()} == {*runs}
    assert ended.out.startswith("# passed: b.py against a.py\n")
    assert ended.err.splitlines()[2] == "pair 2 of 3: b.py"
    again = call(capsys, "ab", base, new, "--out", out)
    assert (again.code, len(ran)) == (2, 8)
    assert "kept is not empty: give a new folder" in again.err


def test_what_became_worse_fails(ran: Log, files: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    ended = call(capsys, "ab", files("a.py"), files("worse.py"), "--pairs", 1, "--format", "text")
    assert ended.code == 1
    assert ended.out.startswith("FAILED: worse.py against a.py\n")
    assert "40 of 1000 answers lost" in ended.out
    allowed = ("ab", "a.py", "worse.py", "--pairs", 2, "--fail-on", "accuracy:5pp")
    assert call(capsys, *allowed).code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("a.py",), 2, "error: a.py is a plugin file, so a second one must be given to compare it with."),
        (("a.py", "gone.py"), 2, "error: there is no plugin file gone.py"),
        (("a.py", "fatal.py"), 2, "error: fatal.py: it is broken"),
        (("a.py", "slow.py"), 130, "interrupted: nothing was compared"),
        (("a.py", "a.py", "--alpha", "0.0001"), 2, "error: alpha must be 0.001 or more, not 0.0001"),
        (("a.py", "a.py", "--fail-on", "speed:1"), 2, "error: nothing is measured that is called 'speed'"),
        (("a.py", "a.py", "--format", "pdf"), 2, "error: there is no format 'pdf'"),
        (("nowhere",), 2, "lies in no git repository"),
    ],
)
def test_mistakes(
    ran: Log,
    files: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    for name in ("a.py", "fatal.py", "slow.py"):
        files(name)
    ended = call(capsys, "ab", *arguments, "--pairs", 2)
    assert ended.code == code
    assert said in ended.err.splitlines()[-1]
    assert not ended.out
    assert sum(what != "checked" for _, what in ran) <= 2  # a limit without a measure is told after the first pair


def test_what_stands_for_new(ran: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = new_project(tmp_path / "guest", "one")
    (top / "guest.py").write_text("WHICH = 'two'\n")
    made: list[Any] = []

    def install(project: Any, commit: str, name: str, *, as_it_is: bool = False) -> Environment:
        made.append(as_it_is)
        return Environment(name, Path(sys.executable), project="guest")

    monkeypatch.setattr("finefuse.repeat.environments._installed", install)
    monkeypatch.chdir(top)
    found = finefuse.ab("main", pairs=1)
    assert made == [False, True]
    assert found.base.startswith("main (")
    assert found.new.endswith(" and 1 changed file)")
    other = finefuse.ab(sys.prefix, pairs=1)
    assert (other.base, other.new) == (sys.prefix, "this environment")
    assert "versions" in other.policy.excused
    assert "versions" not in found.policy.excused
    with pytest.raises(FinefuseError, match="at least one pair of runs is needed, not 0"):
        finefuse.ab("main", pairs=0)
