"""The action's script on examples/finefuse-gentle: its baseline holds, and a planted mistake is stopped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "examples" / "finefuse-gentle"
pytestmark = pytest.mark.slow


def gate(package: Path, place: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script in `place` on a copy of the package."""
    doors = {"SUITE": str(package / "gate.toml"), "PLUGIN": str(package / "finefuse_gentle.py")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    how = {
        "PATH": path,
        "BASELINE": str(PACKAGE / "baseline"),
        "RUN_OPTIONS": f"--device cpu --store '{place / 'store'}'",
    }
    script = ROOT / ".github" / "actions" / "gate" / "gate.sh"
    environment = {**os.environ, **doors, **how, **variables}
    return subprocess.run([script], cwd=place, env=environment, capture_output=True, text=True)


def test_the_committed_baseline_holds_and_a_planted_mistake_is_stopped(tmp_path: Path) -> None:
    """Another version of torch or kind of processor may give other bits, which the gate allows for."""
    shutil.copytree(PACKAGE, tmp_path / "package", ignore=shutil.ignore_patterns("__pycache__"))
    done = gate(tmp_path / "package", tmp_path, REPEAT="1", COMPARE_OPTIONS="--allow versions")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in (tmp_path / "new" / "gate").iterdir()} >= {
        "verdict.md",
        "verdict.json",
        "verdict.xml",
        "repeated.md",
    }
    module = tmp_path / "package" / "finefuse_gentle.py"
    text = module.read_text(encoding="utf-8")
    module.write_text(text.replace("on.model.head.parameters()]", "on.model.head.parameters()][:1]"), encoding="utf-8")
    assert text != module.read_text(encoding="utf-8")
    done = gate(tmp_path / "package", tmp_path, OUT="worse", COMPARE_OPTIONS="--allow versions")
    assert done.returncode == 1
    assert "bottleneck" in done.stdout
    assert "regressed" in done.stdout
