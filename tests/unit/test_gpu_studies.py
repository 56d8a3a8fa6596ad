"""What is prepared for a day with a GPU goes through its parts in order, whatever becomes of each."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_script_for_a_gpu_goes_through_its_parts_in_order(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/usr/bin/env bash\necho "asked: $*"\n[ "$1" != "-m" ]\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", "studies/gpu/all.sh", tmp_path / "out"],
        cwd=ROOT, env={**os.environ, "PYTHON": str(python)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    parts = [line.split(":")[0] for line in done.stdout.splitlines() if not line.startswith("asked")]
    assert parts == ["tests", "epoch", "half", "workers", "cifar10-jpeg"]
    assert "tests: exit code 1" in done.stdout
    assert "epoch: exit code 0" in done.stdout
    assert "asked: -m pytest -m gpu" in (tmp_path / "out" / "tests.log").read_text()
    for line in done.stdout.splitlines():
        for word in line.split():
            assert not word.endswith(".py") or (ROOT / word).is_file(), word
