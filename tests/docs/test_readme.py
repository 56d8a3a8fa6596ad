"""The README's two lines are what they should be, `.ci/run` takes the second from it, and the board is an excerpt."""

from __future__ import annotations

import re
import shlex
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest

from finefuse.discovery.registry import Registry

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINTERS = ("ruff", "mypy", "lint-imports")


def line_after(marker: str) -> str:
    """The one line in the code block that follows a marker."""
    (block,) = re.findall(rf"^<!-- {marker} -->\n```bash\n(.*?)\n```$", README, flags=re.MULTILINE | re.DOTALL)
    assert "\n" not in block
    return str(block)


def steps(line: str) -> list[list[str]]:
    return [shlex.split(step) for step in line.split(" && ")]


@pytest.mark.parametrize("marker", ["main", "lite", "tests"])
def test_a_line_makes_its_own_environment_and_uses_nothing_else(marker: str) -> None:
    first, *rest = steps(line_after(marker))
    assert first == ["python3", "-m", "venv", ".venv"]
    assert rest[0][:2] == [".venv/bin/pip", "install"]
    assert all(step[0].startswith(".venv/bin/") for step in rest)


@pytest.mark.parametrize(("marker", "what"), [("main", "."), ("lite", ".[lite]")])
def test_a_line_installs_the_checkout_and_runs_a_suite_that_exists(marker: str, what: str) -> None:
    _, install, run = steps(line_after(marker))
    assert install[-1] == what
    assert run[:2] == [".venv/bin/finefuse", "run"]
    assert run[2] in Registry().suites()


def test_the_extra_of_the_lite_line_holds_all_that_its_suite_needs() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {re.split("[=>]", line)[0].replace("-", "_") for line in extras["lite"]}
    assert sum(line.endswith("-model==0.1.0") for line in extras["lite"]) == 3
    registry = Registry()
    suite = tomllib.loads(registry.suites()["lite"].read_text(encoding="utf-8"))
    used = {registry.find("backbone", backbone["use"]).entry for backbone in suite["backbones"]}
    assert {entry.extra for entry in used} == {"lite"}
    assert {module for entry in used for module in entry.requires} == named
    assert set(extras["lite"]) <= set(extras["test"])


def test_the_tests_line_installs_what_the_tests_need() -> None:
    _, install, tests = steps(line_after("tests"))
    assert install[-2:] == ["-e", ".[test]"]
    assert tests == [".venv/bin/python", "-m", "pytest"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"pytest>=8.2", "hypothesis>=6.100"} <= set(project["optional-dependencies"]["test"])
    assert set(project["scripts"]) == {"finefuse"}


def ci(tmp_path: Path, readme: str, failing: str = "") -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a copy of `.ci/run` beside another README and linters that only write down how they were called."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "README.md").write_text(readme)
    log = tmp_path / "log"
    log.touch()
    for name in LINTERS:
        tool = tmp_path / ".venv" / "bin" / name
        tool.parent.mkdir(parents=True, exist_ok=True)
        tool.write_text(f'#!/bin/sh\necho "{name} $*" | sed "s/ $//" >> log\n[ {name} != "{failing}" ]\n')
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    done = subprocess.run([tmp_path / ".ci" / "run"], capture_output=True, text=True, cwd="/", stdin=subprocess.DEVNULL)
    return done, log.read_text().splitlines()


def with_tests(line: str) -> str:
    return README.replace(line_after("tests"), line)


def test_ci_runs_the_readmes_line_and_then_the_linters(tmp_path: Path) -> None:
    done, log = ci(tmp_path, with_tests("echo 'tests, word for word' >> log && cat"))
    assert (done.returncode, done.stderr) == (0, "")
    linters = ["ruff check", "ruff format --check", "mypy", "lint-imports"]
    assert log[:-1] == ["tests, word for word", *linters]
    assert log[-1].startswith("lint-imports")


@pytest.mark.parametrize(
    ("readme", "failing", "count"),
    [
        (with_tests("echo one >> log && false && echo two >> log"), "", 1),
        (with_tests("false | cat"), "", 0),
        (README.replace("<!-- tests -->", ""), "", 0),
        (with_tests("true"), "ruff", 1),
        (with_tests("true"), "mypy", 3),
        (with_tests("true"), "lint-imports", 4),
    ],
    ids=["tests", "pipe", "no line", *LINTERS],
)
def test_ci_fails_if_anything_does(tmp_path: Path, readme: str, failing: str, count: int) -> None:
    done, log = ci(tmp_path, readme, failing)
    assert done.returncode == 1
    assert len(log) == count


def test_ci_says_so_if_the_readme_has_no_line(tmp_path: Path) -> None:
    done, _ = ci(tmp_path, "# Nothing\n")
    assert done.stderr == "README.md has no code block after <!-- tests -->\n"


def test_github_runs_ci_and_nothing_else() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert re.findall(r"^ +- run: (.+)$", workflow, flags=re.MULTILINE) == [".ci/run"]
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert f'"{oldest}"' in workflow


def test_the_excerpt_is_taken_from_the_committed_leaderboard() -> None:
    excerpt = README.split("<!-- board -->\n")[1].split("<!-- end of board -->")[0].strip().splitlines()
    board = ROOT / "results" / "quick" / "leaderboard.md"
    lines = board.read_text(encoding="utf-8").splitlines() if board.exists() else []
    assert bool(excerpt) == bool(lines)
    assert [line for line in excerpt if line not in lines] == []
