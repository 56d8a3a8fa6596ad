"""`.github/actions/gate`: the script with something in place of finefuse that writes down how it was called."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.fake_finefuse import path_with_fake

ROOT = Path(__file__).parents[2]
ACTION = ROOT / ".github" / "actions" / "gate"


@pytest.fixture
def gate(tmp_path: Path) -> Callable[..., tuple[int, list[list[str]]]]:
    """Runs the script with these variables: its exit code, and what it called."""
    path = path_with_fake(tmp_path / "bin")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}

    def run(**variables: str) -> tuple[int, list[list[str]]]:
        (tmp_path / "calls.jsonl").write_text("")
        environment = {**clean, "PATH": path, "SUITE": "my suite.toml", "BASELINE": "the base", **variables}
        done = subprocess.run([ACTION / "gate.sh"], cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done.returncode, [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]

    return run


def test_it_runs_and_compares_and_leaves_the_verdict_beside_the_results(gate: Any, tmp_path: Path) -> None:
    code, (run, compare) = gate(OUT="out of it")
    assert code == 0
    assert run == ["run", "my suite.toml", "--out", "out of it", "--portable"]
    assert compare[:3] == ["compare", "the base", "out of it"]
    assert sorted(path.name for path in (tmp_path / "out of it").iterdir()) == [
        f"verdict.{ending}" for ending in ("json", "md", "xml")
    ]


@pytest.mark.parametrize("name", ["RUN_OPTIONS", "COMPARE_OPTIONS"])
def test_a_quote_that_is_not_closed_loses_no_options(gate: Any, name: str) -> None:
    assert gate(**{name: "'--resolve 1pp"}) == (2, [])


def test_what_a_former_run_left_is_gone(gate: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "repeated.md").write_text("verified")
    gate(OUT="out", REPEAT="0")
    assert not (tmp_path / "out" / "repeated.md").exists()


def test_plugins_are_one_a_line_and_options_are_split_as_in_a_shell_and_not_carried_out(gate: Any) -> None:
    _, (run, compare) = gate(
        PORTABLE="false",
        PLUGIN="first one.py\n\nsecond\n",
        RUN_OPTIONS="--workers 1 --only 'two words'",
        COMPARE_OPTIONS='--fail-on "$(touch made)" --allow versions',
    )
    assert run[4:] == ["--workers", "1", "--only", "two words", "--plugin", "first one.py", "--plugin", "second"]
    assert compare[3:7] == ["--fail-on", "$(touch made)", "--allow", "versions"]


@pytest.mark.parametrize(("ran", "compared", "code", "verbs"), [(0, 1, 1, 2), (1, 0, 1, 2), (0, 2, 2, 2), (2, 0, 2, 1)])
def test_both_exit_codes_count_and_nothing_is_compared_that_was_not_run(
    gate: Any, ran: int, compared: int, code: int, verbs: int
) -> None:
    found, calls = gate(RUN=str(ran), COMPARE=str(compared))
    assert (found, len(calls)) == (code, verbs)


def test_cells_are_run_a_second_time_where_the_gate_passes(gate: Any, tmp_path: Path) -> None:
    code, (_, _, verify) = gate(REPEAT="3", PLUGIN="one.py", OUT="out")
    assert code == 0
    assert verify == ["verify", "out", "--sample", "3", "--suite", "my suite.toml", "--plugin", "one.py"]
    assert (tmp_path / "out" / "repeated.md").read_text() == "verify is done\n"
    assert gate(REPEAT="3", VERIFY="1")[0] == 1
    assert [call[0] for call in gate(REPEAT="3", COMPARE="1")[1]] == ["run", "compare"]
    assert [call[0] for call in gate(REPEAT="0")[1]] == ["run", "compare"]


@pytest.mark.parametrize("lacking", ["SUITE", "BASELINE"])
def test_it_says_what_is_not_named(gate: Any, lacking: str) -> None:
    assert gate(**{lacking: ""}) == (2, [])


def test_on_github_the_verdict_is_in_the_summary_and_what_is_printed_are_annotations(gate: Any, tmp_path: Path) -> None:
    summary = tmp_path / "summary"
    summary.write_text("before\n")
    on_github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    code, (_, compare) = gate(**on_github, COMPARE="1")
    assert code == 1
    assert compare[compare.index("--format") + 1] == "github"
    assert summary.read_text() == "before\nthe verdict as markdown\n"
    gate(**on_github, COMPARE="1", UNREADABLE="yes")
    assert summary.read_text() == "before\nthe verdict as markdown\n", "the verdict of the run before"


def test_the_action_gives_the_script_all_that_it_reads() -> None:
    action = yaml.safe_load((ACTION / "action.yml").read_text(encoding="utf-8"))
    (step,) = [step for step in action["runs"]["steps"] if "gate.sh" in step.get("run", "")]
    head = (ACTION / "gate.sh").read_text(encoding="utf-8").split("set -uo pipefail")[0]
    told = set(re.findall(r"\b[A-Z_]{3,}\b", head.split("Read from the environment")[1]))
    assert set(step["env"]) == told
    used = set(re.findall(r"inputs\.([\w-]+)", (ACTION / "action.yml").read_text(encoding="utf-8")))
    assert used == set(action["inputs"])
    assert not any("${{" in step.get("run", "") for step in action["runs"]["steps"]), "inputs are no code"
