"""docs/ci-*.md: their files name what the action and its script take, and their lines of shell run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.fake_finefuse import path_with_fake

ROOT = Path(__file__).parents[2]
ACTION = ROOT / ".github" / "actions" / "gate"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("ci-*.md"))}
SCRIPT = (ACTION / "gate.sh").read_text(encoding="utf-8")
FOR_PIP = {"PIP_EXTRA_INDEX_URL", "HOME"}


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGES[page], flags=re.MULTILINE | re.DOTALL)


def variables() -> set[str]:
    """What the script reads, by its own words."""
    head = SCRIPT.split("set -uo pipefail")[0].split("Read from the environment")[1]
    return set(re.findall(r"\b[A-Z_]{3,}\b", head))


def test_the_sample_for_github_gives_inputs_that_there_are() -> None:
    inputs = yaml.safe_load((ACTION / "action.yml").read_text(encoding="utf-8"))["inputs"]
    (block,) = blocks("ci-github", "yaml")
    step = yaml.safe_load(block)["jobs"]["gate"]["steps"][-1]
    assert step["uses"].partition("@")[0].endswith(ACTION.relative_to(ROOT).as_posix())
    assert {name for name, one in inputs.items() if one.get("required")} <= set(step["with"]) <= set(inputs)


def test_the_table_of_inputs_is_that_of_the_action() -> None:
    inputs = yaml.safe_load((ACTION / "action.yml").read_text(encoding="utf-8"))["inputs"]
    rows = re.findall(r"^\| `([\w-]+)` \| (.*?) ?\| (.+) \|$", PAGES["ci-github"], flags=re.MULTILINE)
    expected = [
        (
            name,
            "required" if one.get("required") else f"`{one['default']}`" if one["default"] else "",
            one["description"],
        )
        for name, one in inputs.items()
    ]
    assert rows == expected


def test_variables_of_all_pages_are_those_that_the_script_reads() -> None:
    told = re.findall(r"^\| (`[A-Z_`, ]+`) \|", PAGES["ci-shell"], flags=re.MULTILINE)
    assert {name for row in told for name in re.findall(r"\w+", row)} == variables()
    given = yaml.safe_load(blocks("ci-gitlab", "yaml")[0])["gate"]["variables"]
    assert {"SUITE", "BASELINE"} <= set(given) <= variables() | FOR_PIP
    (jenkins,) = blocks("ci-jenkins", "groovy")
    named = set(re.findall(r"^ +([A-Z_]+) = ", jenkins, flags=re.MULTILINE))
    assert {"SUITE", "BASELINE"} <= named <= variables() | FOR_PIP


def test_verdicts_are_looked_for_where_the_script_leaves_them() -> None:
    job: Any = yaml.safe_load(blocks("ci-gitlab", "yaml")[0])["gate"]
    out = job["variables"]["OUT"]
    assert job["artifacts"]["reports"]["junit"] == f"{out}/verdict.xml"
    assert job["artifacts"]["paths"] == [out]
    (jenkins,) = blocks("ci-jenkins", "groovy")
    assert f"OUT = '{out}'" in jenkins
    assert f"'{out}/verdict.xml'" in jenkins
    assert '"junit=$out/verdict.xml"' in SCRIPT


LINES = {
    "gitlab": yaml.safe_load(blocks("ci-gitlab", "yaml")[0])["gate"]["script"][-1],
    "jenkins": re.findall(r"sh '(.+gate\.sh)'", PAGES["ci-jenkins"])[0],
    "shell": blocks("ci-shell", "bash")[0].splitlines()[-1],
}


@pytest.mark.parametrize("system", LINES)
def test_the_line_that_runs_the_gate_works(system: str, tmp_path: Path) -> None:
    (tmp_path / "ci").mkdir()
    shutil.copy(ACTION / "gate.sh", tmp_path / "ci")
    path = path_with_fake(tmp_path / ".venv" / "bin")
    given = {} if system == "shell" else {"SUITE": "gate.toml", "BASELINE": "baseline", "OUT": "new/gate"}
    environment = {**os.environ, **given, "PATH": os.environ["PATH"] if system == "jenkins" else path}
    done = subprocess.run(["bash", "-c", LINES[system]], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new" / "gate" / "verdict.xml").is_file()
    assert '"gate.toml"' in (tmp_path / "calls.jsonl").read_text()


def test_each_page_says_what_was_not_tried_and_is_linked_from_the_page_on_the_gate() -> None:
    gate = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    for name, text in PAGES.items():
        assert re.search(r"\b(not|No)\b", text.split("## What was tried")[1])
        assert f"({name}.md)" in gate
