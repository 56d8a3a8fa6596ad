"""Which version of a dependency is named, and what is refused before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from finefuse.errors import FinefuseError
from finefuse.repeat import matrix as module
from finefuse.repeat.environments import Environment
from finefuse.repeat.matrix import Matrix, matrix
from finefuse.repeat.running import Work
from helpers.calling import call

VERSIONS = ["dep==1.0", "dep==1.1", "dep==2.0", "dep==2.1", "dep==9"]
RIGHT = {"dep==1.0": 90, "dep==1.1": 90, "dep==2.0": 50, "dep==2.1": 40}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, build: ModuleType) -> list[str]:
    """Environments and runs that are not made: each version has its own number of right answers."""
    ran: list[str] = []

    def run(environment: Environment, work: Work, out: Path) -> Path:
        ran.append(environment.name)
        if environment.name not in RIGHT:
            raise FinefuseError(f"{environment.name} can't be installed: no such version")
        right = build.first_right(RIGHT[environment.name])
        rows = [build.row(seed=seed, **build.scores(right), outputs=environment.name) for seed in range(3)]
        parts = {"version of dep": environment.name}
        made: Path = build.write(out, [row | {"parts": parts} for row in rows], ())
        return made

    monkeypatch.setattr(module, "with_requirements", lambda words: Environment(" ".join(words), Path("python")))
    monkeypatch.setattr(module, "check", lambda environment, work: None)
    monkeypatch.setattr(module, "run_suite", run)
    return ran


def of(tmp_path: Path, *versions: str) -> Matrix:
    return matrix("demo", versions, out=tmp_path / "out")


def test_the_first_version_that_regresses_is_named(ran: list[str], tmp_path: Path) -> None:
    found = of(tmp_path, *VERSIONS)
    assert ran == VERSIONS
    assert found.first_regressed is not None
    assert found.first_regressed.name == "dep==2.0"
    assert [version.regressed for version in found.versions] == [False, False, True, True, True]
    text = found.to_markdown()
    assert text.startswith("# FAILED: dep==2.0 is the first that regresses")
    assert "dep==9 can't be installed" in text
    assert "dep==9: dep==9 can't be installed: no such version" in found.to_text(100)
    told = json.loads(found.to_json())
    assert (told["passed"], told["base"], told["first_regressed"]) == (False, "dep==1.0", "dep==2.0")
    assert [one["comparison"] and one["comparison"]["passed"] for one in told["versions"]] == [
        None,
        True,
        False,
        False,
        None,
    ]


def test_versions_that_differ_are_no_reason_to_fail(ran: list[str], tmp_path: Path) -> None:
    found = of(tmp_path, "dep==1.0", "dep==1.1")
    assert found.passed
    assert found.to_markdown().startswith("# passed: no version regresses")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"0-dep==1.0", "1-dep==1.1"}


def test_a_first_version_that_can_not_be_run_leaves_nothing_to_compare_with(ran: list[str], tmp_path: Path) -> None:
    with pytest.raises(FinefuseError, match="dep==9 can't be installed"):
        of(tmp_path, "dep==9", "dep==1.0")


@pytest.mark.parametrize("versions", [[], ["a==1"], ["a==1", "b==1", "a==1"], ["a==1 b==2", "a==1  b==2"]])
def test_two_different_versions_are_needed(ran: list[str], tmp_path: Path, versions: list[str]) -> None:
    with pytest.raises(FinefuseError, match="two or more versions, each once"):
        of(tmp_path, *versions)
    assert ran == []


def test_a_folder_in_use_and_a_limit_that_is_none_are_refused_before_anything_runs(
    ran: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(FinefuseError, match="holds something already; give a new folder"):
        of(tmp_path, *VERSIONS)
    with pytest.raises(FinefuseError, match="holds something already; give a new folder"):
        matrix("demo", VERSIONS, out=tmp_path / "out" / "notes.txt")
    words = ("matrix", "demo", "--with", "dep==1.0", "--with", "dep==1.1", "--out", tmp_path / "new")
    outcome = call(capsys, *words, "--fail-on", "accuracy:much")
    assert (outcome.code, ran) == (2, [])
    assert "no limit" in outcome.err
    assert not (tmp_path / "new").exists()


def test_the_verb_exits_with_one_if_a_version_regresses_and_takes_wider_limits(
    ran: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("matrix", "demo", "--with", "dep==1.0", "--with", "dep==2.0", "--out")
    outcome = call(capsys, *words, tmp_path / "a", "--json")
    assert (outcome.code, json.loads(outcome.out)["first_regressed"]) == (1, "dep==2.0")
    assert outcome.err.splitlines() == ["dep==1.0: version 1 of 2", "dep==2.0: version 2 of 2"]
    outcome = call(capsys, *words, tmp_path / "b", "--fail-on", "accuracy:60pp", "-q")
    assert (outcome.code, outcome.err) == (0, "")
